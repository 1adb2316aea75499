//! Client of OpenCode servers: wire types, HTTP, server-sent events, the event hub and the reply.
