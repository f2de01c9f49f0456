//! Attempts that no advisory of the table names.

mod budgets;
mod debuggers;
mod execution;
mod file_systems;
mod kernel_surface;
mod limits;
mod neighbours;
mod one_jail;
mod proc_and_view;
mod stdin;
mod survivors;
