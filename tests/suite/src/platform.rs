//! What the platform checks find out must agree with where the tests run.

use kunit::prelude::*;

#[kunit_tests(platform)]
pub(crate) mod cases {
    use super::*;
    use kunit::Environment;
    use wsk_async::platform;

    #[test]
    fn dpcs_run_everywhere_but_in_wine(test: &Test) {
        expect_eq!(platform::dpcs_run(), test.environment() != Environment::Wine);
    }

    #[test]
    fn the_build_says_whether_there_is_connect_ex() {
        expect!(platform::os_build() >= 7600, "build {}", platform::os_build());
        expect_eq!(platform::has_connect_ex(), platform::os_build() >= 15063);
    }

    #[test(needs = cancel)]
    fn no_irp_was_dropped() {
        expect_eq!(platform::claimed_irps(), 0);
    }
}
