//! Kills processes, lets their files fail and loses power under them, and compares each database
//! with what was acknowledged. Serves SQLite and sled.
//!
//! | module | contents |
//! | --- | --- |
//! | [`random`] | choices that a seed repeats |
//! | [`engine`] | the durable backends, and a store on one of them |
//! | [`operation`] | a change of a store, as a line of text and as a call |
//! | [`limits`] | limits that carry a number, as settings and names do |
//! | [`line`] | the lines that a process writes before and after each call |
//! | [`work`] | a process whose threads make changes until it is killed |
//! | [`spending`] | threads beside them that use keys with quotas |
//! | [`ledger`] | the state that the acknowledgements lead to |
//! | [`found`] | the state that a store shows |
//! | [`check`] | the comparison of both |
//! | [`purses`] | the comparison of quotas and counts |
//! | [`kills`] | the loop that starts, kills and checks |
//! | [`disk`], [`record`] | a process under the preloaded library, and its record of the files |
//! | [`replay`] | a model of a disk that loses power |
//! | [`faults`], [`faulted`] | each call on a file failing in turn, and a store then |
//! | [`power`], [`recording`] | losses of power at many moments of recorded processes |
//! | [`injected`] | bugs that these checks must catch |

pub mod check;
pub mod disk;
pub mod engine;
pub mod faulted;
pub mod faults;
pub mod files;
pub mod found;
pub mod injected;
pub mod kills;
pub mod ledger;
pub mod limits;
pub mod line;
pub mod operation;
pub mod power;
pub mod purses;
pub mod random;
pub mod record;
pub mod recording;
pub mod replay;
pub mod spending;
pub mod work;
