//! Runs a test as root and as an ordinary user, with a result each: `x::root` and `x::rootless`.

/// `each!(x);` above `fn x(who: Who)` generates both tests. Without root, `x::root` prints that it is skipped.
macro_rules! each {
    ($test:ident) => {
        mod $test {
            use crate::support::Who;

            #[test]
            fn root() {
                if let Some(who) = Who::root() {
                    super::$test(who);
                }
            }

            #[test]
            fn rootless() {
                super::$test(Who::User);
            }
        }
    };
}
