//! The commands, driven as other programs drive them: arguments in, NDJSON and exit codes out.

mod answers;
mod backup;
mod bad_input;
mod budgets;
mod damage;
mod doctor;
mod faults;
mod lines;
mod people;
mod queue;
mod result;
mod schedules;
mod servers;
mod settings;
mod terminal;
mod typed;
mod webhooks;
