//! The pages against the impostor, through the router.

mod artifacts;
mod asking;
mod below;
mod downloading;
mod endings;
mod guarding;
mod multipart_form;
mod pages;
mod sending;
mod site;
mod streams;
mod uploading;
