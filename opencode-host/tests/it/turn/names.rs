//! Names in a prompt that the server does not know.

use opencode_client::wire::{ModelRef, Prompt};
use opencode_impostor::{ImpostorBuilder, ProviderError};

use super::*;

/// The first two are silent about an unknown agent.
const VERSIONS: [&str; 4] = ["1.1.65", "1.2.27", "1.14.48", "1.18.33"];

const POST: &str = "POST /session/:id/prompt_async";

fn naming(agent: Option<&str>, model: Option<&str>) -> Prompt {
    Prompt {
        agent: agent.map(str::to_owned),
        model: model.map(|model| model.parse().unwrap()),
        ..Prompt::text("go")
    }
}

fn impostor(version: &str) -> ImpostorBuilder {
    Impostor::builder()
        .script(Script::always([Step::text("Fine.")]))
        .version(version)
        .agents(["build", "plan"])
        .models(["local/scripted", "local/scribbled", "other/one"])
}

/// Nothing here ends because somebody has waited long enough.
fn patient() -> WorkerOptions {
    let mut options = quick();
    options.limits.pace.unseen = Duration::from_secs(3600);
    options.limits.pace.lost = Duration::from_secs(3600);
    options.limits.first_event = Duration::from_secs(3600);
    options
}

async fn answered(test: &Hosting, prompt: Prompt) -> TurnResult {
    let submitting = test
        .host
        .submit(test.conversation, prompt, SubmitOptions::default());
    let turn = submitting.await.unwrap().turn.id;
    test.finished(turn, test.work(turn)).await
}

fn assert_unknown(result: &TurnResult, told: &[&str], case: &str) {
    let error = result.answer.error.as_ref().unwrap();
    assert_eq!(
        (result.status, result.answer.reason.unwrap().as_str()),
        (TurnStatus::Error, "unknown_name"),
        "{case}: {error:?}"
    );
    assert_eq!(error.name, "unknown_name", "{case}");
    for words in told {
        assert!(error.message.contains(words), "{case}: {}", error.message);
    }
}

#[tokio::test]
async fn an_unknown_agent_is_told_with_those_that_there_are() {
    for version in VERSIONS {
        for silent in [false, true] {
            let case = format!("{version}, silent streams: {silent}");
            let impostor = impostor(version).start().await.unwrap();
            if silent {
                impostor.faults().silent_streams();
            }
            let test = Hosting::with(impostor, patient(), |builder| builder).await;
            let result = answered(&test, naming(Some("nope"), None)).await;
            let told = ["agent \"nope\"", "build, plan", "opencode agent list"];
            assert_unknown(&result, &told, &case);
            assert_eq!(test.impostor.ledger().count(POST), 1, "{case}");
            let next = answered(&test, naming(Some("plan"), None)).await;
            assert_ended(&next, TurnStatus::Completed, None, "Fine.");
        }
    }
}

#[tokio::test]
async fn an_unknown_model_is_told_with_those_that_there_are() {
    for version in VERSIONS {
        for silent in [false, true] {
            let case = format!("{version}, silent streams: {silent}");
            let impostor = impostor(version).start().await.unwrap();
            if silent {
                impostor.faults().silent_streams();
            }
            let test = Hosting::with(impostor, patient(), |builder| builder).await;
            let result = answered(&test, naming(Some("build"), Some("local/scrip"))).await;
            let told = [
                "model \"local/scrip\"",
                "local/scripted, local/scribbled, other/one",
                "opencode models",
            ];
            assert_unknown(&result, &told, &case);
            assert_eq!(test.impostor.ledger().count(POST), 1, "{case}");
            // A session keeps the model of its last prompt, unknown or not.
            let next = answered(&test, Prompt::text("and now?")).await;
            assert_ended(&next, TurnStatus::Completed, None, "Fine.");
        }
    }
}

#[derive(Debug)]
struct Named;

#[async_trait]
impl Product for Named {
    async fn agent(&self, _: &TurnContext) -> Result<Option<String>, HookError> {
        Ok(Some("reviewer".to_owned()))
    }

    async fn model(&self, _: &TurnContext) -> Result<Option<ModelRef>, HookError> {
        Ok(Some(ModelRef {
            provider: "local".to_owned(),
            model: "scripted".to_owned(),
        }))
    }
}

#[tokio::test]
async fn a_name_of_the_products_is_told_too() {
    let impostor = impostor("1.2.27").start().await.unwrap();
    let test = Hosting::with(impostor, patient(), |builder| builder.product(Named)).await;
    let result = answered(&test, Prompt::text("go")).await;
    assert_unknown(&result, &["agent \"reviewer\"", "build, plan"], "product");
}

/// The words of servers about a name that is none of the prompt's: that of the server's own default.
#[tokio::test]
async fn what_a_server_says_of_its_own_names_is_told_with_those_that_there_are() {
    let models = "local/scribbled, local/scripted, other/one";
    for (name, message, told) in [
        ("UnknownError", "Model not found: local/gone.", models),
        ("ProviderModelNotFoundError", "the default is gone", models),
        ("UnknownError", "Agent not found: \"gone\".", "build, plan"),
    ] {
        let error = json!({"error": {"name": name, "data": {"message": message}}});
        for steps in [
            vec![Step::raw_event("session.error", error), Step::Empty],
            vec![Step::ProviderError(ProviderError {
                name: name.to_owned(),
                message: message.to_owned(),
                status_code: None,
                url: None,
            })],
        ] {
            let impostor = impostor("1.18.33").script(Script::always(steps));
            let impostor = impostor.start().await.unwrap();
            let test = Hosting::with(impostor, patient(), |builder| builder).await;
            let result = answered(&test, Prompt::text("go")).await;
            assert_unknown(&result, &[message, told], name);
        }
    }
}

#[tokio::test]
async fn a_post_that_is_refused_for_a_name_is_not_made_again() {
    for (status, error) in [
        (400, "BadRequest"),
        (404, "NotFoundError"),
        (500, "UnknownError"),
    ] {
        let impostor = impostor("1.18.33").start().await.unwrap();
        let refusal = Action::error(status, error, "Agent not found: \"nope\"");
        impostor.faults().request(POST, Calls::All, refusal);
        let test = Hosting::with(impostor, patient(), |builder| builder).await;
        let result = answered(&test, naming(Some("nope"), None)).await;
        assert_unknown(&result, &["agent \"nope\"", "build, plan"], error);
        assert_eq!(test.impostor.ledger().count(POST), 1, "{error}");
    }
}

/// A server that sits on a prompt is not accused of a name that it knows, or does not list.
#[tokio::test]
async fn a_name_is_not_called_unknown_without_a_list_that_lacks_it() {
    let empty = || Action::Answer {
        status: 200,
        content_type: "application/json".to_owned(),
        body: "[]".to_owned(),
    };
    for (case, agent, answer) in [
        ("known", "plan", None),
        (
            "no such route",
            "nope",
            Some(Action::error(404, "NotFoundError", "no")),
        ),
        ("broken", "nope", Some(Action::html(500))),
        ("odd", "nope", Some(Action::garbage())),
        ("empty", "nope", Some(empty())),
        ("silent", "nope", Some(Action::Swallow)),
    ] {
        let impostor = impostor("1.2.27").start().await.unwrap();
        if let Some(answer) = answer {
            impostor.faults().request("GET /agent", Calls::All, answer);
        }
        let taken = Action::Answer {
            status: 204,
            content_type: String::new(),
            body: String::new(),
        };
        impostor.faults().request(POST, Calls::All, taken);
        let test = Hosting::new(impostor).await;
        let result = answered(&test, naming(Some(agent), None)).await;
        let error = result.answer.error.unwrap();
        assert_eq!(
            (
                result.answer.reason.unwrap().as_str(),
                error.message.contains("never ran it")
            ),
            ("upstream", true),
            "{case}: {error:?}"
        );
        let asked = test.impostor.ledger().count("GET /agent");
        assert!((1..=2).contains(&asked), "{case}: asked {asked} times");
    }
}

#[tokio::test]
async fn an_answer_is_not_held_up_for_names() {
    let impostor = impostor("1.18.33").start().await.unwrap();
    let test = Hosting::new(impostor).await;
    let result = answered(&test, naming(Some("plan"), Some("local/scripted"))).await;
    assert_ended(&result, TurnStatus::Completed, None, "Fine.");
    let ledger = test.impostor.ledger();
    assert_eq!(
        ledger.count("GET /agent") + ledger.count("GET /config/providers"),
        0
    );
}
