//! The pages against the impostor, through the router.

mod asking;
mod endings;
mod guarding;
mod pages;
mod sending;
mod site;
mod streams;
