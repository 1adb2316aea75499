//! The pages against the impostor, through the router.

mod api;
mod artifacts;
mod asking;
mod below;
mod downloading;
mod endings;
mod finding;
mod guarding;
mod multipart_form;
mod people;
mod sending;
mod showing;
mod site;
mod streams;
mod tenants;
mod uploading;
mod versions;
