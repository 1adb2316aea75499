
// ---- The beginning ----

document.querySelector(".side li [aria-current]")?.scrollIntoView({ block: "nearest" });
if (find("messages") && !location.hash) toEnd();
else follows = isAtEnd();
watch();
watchMore();
if (!knowsClock) refreshList();
noteRequests();
localize();
offerNotices();
listen();
