//! A test for each who may run creel: two results, `x::root` and `x::rootless`.

/// `each!(x);` above `fn x(who: Who)` makes both. Without root the privileged one says that it is skipped.
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
