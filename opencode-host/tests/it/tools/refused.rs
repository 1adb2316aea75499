//! Turns whose tools cannot be offered fail before their prompt, and say why.

use opencode_client::wire::Prompt;
use opencode_host::SubmitOptions;
use opencode_host::store::Tenant;
use opencode_impostor::{Action, Calls};

use super::*;

fn nothing() -> [Step; 1] {
    [Step::text("never said")]
}

#[tokio::test]
async fn in_the_servers_own_folder_there_are_no_tools() {
    struct Homeless(ToolSet);

    #[async_trait]
    impl Product for Homeless {
        async fn tools(&self, _: &TurnContext) -> Result<ToolSet, HookError> {
            Ok(self.0.clone())
        }
    }

    let impostor = Impostor::scripted(Script::always(nothing())).await.unwrap();
    let tools = ToolSet::new().tool(lookup(&Ran::default()));
    let test = Hosting::with_product(impostor, Homeless(tools)).await;
    let result = test.turn("go").await;
    let said = refusal(&test, &result);
    assert!(said.contains("share the server's folder"), "{said}");
    assert_eq!(test.impostor.ledger().count("POST /mcp"), 0);
}

#[tokio::test]
async fn two_conversations_in_one_folder_have_no_tools() {
    let impostor = Impostor::scripted(Script::always([Step::text("Said.")]))
        .await
        .unwrap();
    let product = Desk {
        folder: Some("/workspace/both".to_owned()),
        ..Desk::with([lookup(&Ran::default())])
    };
    let test = Hosting::with_product(impostor, product).await;
    let result = test.turn("go").await;
    assert_ended(&result, TurnStatus::Completed, None, "Said.");
    let other = test
        .host
        .open_conversation(&Tenant::from("acme"), "other")
        .await
        .unwrap();
    let submitted = test
        .host
        .submit(other.id, Prompt::text("go"), SubmitOptions::default());
    let turn = submitted.await.unwrap().turn.id;
    // From then on neither has.
    for turn in [turn, test.submit("again").await] {
        let result = test.finished(turn, test.work(turn)).await;
        assert_eq!(result.status, TurnStatus::Error);
        let said = result.answer.error.unwrap().message;
        assert!(said.contains("works in the folder of this one"), "{said}");
    }
    assert_eq!(test.impostor.ledger().prompt_posts().len(), 1);
    assert_eq!(test.impostor.ledger().count("POST /mcp"), 1);
}

#[tokio::test]
async fn names_that_the_server_has_given_are_refused() {
    let patch = |name: &str| Tool::new(name, "Patches.", async |_: Lookup, _: ToolCall| Ok(()));
    let set = ToolSet::named("apply")
        .tool(patch("fix"))
        .tool(patch("patch"));
    let impostor = Impostor::scripted(Script::always(nothing())).await.unwrap();
    let product = Desk {
        tools: set,
        folder: None,
    };
    let test = Hosting::with_product(impostor, product).await;
    let result = test.turn("go").await;
    let said = refusal(&test, &result);
    assert!(said.contains("has a tool apply_patch of its own"), "{said}");

    let test = desk(nothing(), [lookup(&Ran::default())]).await;
    let configured = Action::Answer {
        status: 200,
        content_type: "application/json".to_owned(),
        body: json!({"mcp": {"app": {"type": "local", "command": ["x"]}}}).to_string(),
    };
    test.impostor
        .faults()
        .request("GET /config", Calls::All, configured);
    let result = test.turn("go").await;
    let said = refusal(&test, &result);
    assert!(
        said.contains("configuration has an MCP server \"app\""),
        "{said}"
    );
    assert_eq!(test.impostor.ledger().count("POST /mcp"), 0);
}

#[tokio::test]
async fn tools_that_no_model_can_be_told_of_are_refused() {
    fn tool<A: JsonSchema + serde::de::DeserializeOwned + 'static>(name: &str) -> Tool {
        Tool::new(name, "Does.", async |_: A, _: ToolCall| Ok(()))
    }
    struct Broken;
    impl<'de> Deserialize<'de> for Broken {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Self)
        }
    }
    impl JsonSchema for Broken {
        fn schema_name() -> std::borrow::Cow<'static, str> {
            "Broken".into()
        }

        fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
            schemars::json_schema!({"type": "object", "required": 7})
        }
    }
    let longest = "x".repeat(60);
    for (set, told) in [
        (
            ToolSet::new().tool(tool::<Lookup>("look up")),
            "\"look up\"",
        ),
        (ToolSet::new().tool(tool::<Lookup>("")), "\"\""),
        (
            ToolSet::new().tool(tool::<Lookup>(&longest).limit(Duration::MAX)),
            "",
        ),
        (
            ToolSet::new().tool(tool::<Lookup>(&format!("{longest}x"))),
            "64 at most",
        ),
        (
            ToolSet::named("my app").tool(tool::<Lookup>("x")),
            "\"my app\"",
        ),
        (
            ToolSet::new()
                .tool(tool::<Lookup>("x"))
                .tool(tool::<Lookup>("x")),
            "two tools are called x",
        ),
        (ToolSet::new().tool(tool::<String>("x")), "are no object"),
        (ToolSet::new().tool(tool::<Value>("x")), "are no object"),
        (
            ToolSet::new().tool(tool::<Broken>("x")),
            "schema of the tool x is none: 7 is not of type",
        ),
    ] {
        let checked = set.check().map_err(|error| error.to_string());
        if told.is_empty() {
            assert_eq!(checked, Ok(()));
            continue;
        }
        let error = checked.unwrap_err();
        assert!(error.contains(told), "{error}");
        let impostor = Impostor::scripted(Script::always(nothing())).await.unwrap();
        let test = Hosting::with_product(
            impostor,
            Desk {
                tools: set,
                folder: None,
            },
        )
        .await;
        let result = test.turn("go").await;
        assert_eq!(refusal(&test, &result), error);
        let ledger = test.impostor.ledger();
        let mut asked = ledger.requests().iter();
        assert!(asked.all(|request| request.path == "/global/health"));
    }
}

#[tokio::test]
async fn a_server_that_cannot_reach_them_fails_the_turn_and_says_so() {
    let impostor = Impostor::scripted(Script::always(nothing())).await.unwrap();
    let product = Desk::with([lookup(&Ran::default())]);
    let test = Hosting::with(impostor, quick(), |builder| {
        let elsewhere =
            |worker: opencode_host::WorkerBuilder| worker.tools_url("http://127.0.0.1:9/app/");
        builder.product(product).worker(elsewhere)
    })
    .await;
    let result = test.turn("go").await;
    let said = refusal(&test, &result);
    let told = "OpenCode cannot reach the application's tools at http://127.0.0.1:9/app/";
    assert!(
        said.starts_with(told) && said.contains("WorkerBuilder::tools_url"),
        "{said}"
    );
}

#[tokio::test]
async fn an_address_that_cannot_be_listened_to_fails_the_turn_and_says_so() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let impostor = Impostor::scripted(Script::always(nothing())).await.unwrap();
    let product = Desk::with([lookup(&Ran::default())]);
    let test = Hosting::with(impostor, quick(), |builder: Builder| {
        builder
            .product(product)
            .worker(|worker| worker.tools_address(address))
    })
    .await;
    let result = test.turn("go").await;
    let said = refusal(&test, &result);
    assert!(
        said.starts_with("the worker cannot listen for calls of its tools"),
        "{said}"
    );
}
