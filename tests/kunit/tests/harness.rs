//! The harness in the simulated kernel, where all is well: fixtures and their order, levels and processors, parameters,
//! skips, expected failures, cleanup.

use kunit::host::Host;
use kunit::prelude::*;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;
use wsk_async::{irql, sys};

kunit::entry!(fixtures, levels, outcomes);

fn main() -> ExitCode {
    Host::new(driver_entry).parameter("answer", || "42 = 6 * 7".into()).main()
}

/// What has happened since the last look.
static EVENTS: Mutex<Vec<&str>> = Mutex::new(Vec::new());

fn event(name: &'static str) {
    EVENTS.lock().unwrap().push(name);
}

fn take_events() -> Vec<&'static str> {
    core::mem::take(&mut *EVENTS.lock().unwrap())
}

#[kunit_tests(fixtures)]
mod fixtures {
    use super::*;

    struct Fixture(u32);

    impl Drop for Fixture {
        fn drop(&mut self) {
            event("fixture dropped");
        }
    }

    static SUITES: AtomicU32 = AtomicU32::new(0);

    #[suite_init]
    fn before_all(passive: &Passive) {
        let _ = passive;
        SUITES.fetch_add(1, SeqCst);
    }

    #[suite_exit]
    async fn after_all(test: &Test) {
        test.system().timers.sleep(Duration::from_millis(1)).await;
        expect_eq!(SUITES.fetch_sub(1, SeqCst), 1);
    }

    #[init]
    async fn init(test: &Test) -> Outcome<Fixture> {
        take_events();
        test.on_exit(|_| event("first action"))?;
        test.on_exit(|_| event("second action"))?;
        test.on_exit(|_| {
            let events = take_events();
            expect_eq!(events, ["case", "exit", "fixture dropped"], "the case and its fixture end before the actions");
        })?;
        Ok(Fixture(SUITES.load(SeqCst)))
    }

    #[exit]
    fn exit(fixture: Fixture) {
        event("exit");
        expect_eq!(fixture.0, 1);
    }

    #[test]
    fn come_before_and_go_after(fixture: &Fixture, test: &Test) -> Outcome {
        event("case");
        expect_eq!(fixture.0, 1, "suite_init ran once");
        let held = test.clone();
        // The last action that was asked for is the first; those of `init` come after it, in reverse order.
        test.on_exit(move |_| {
            expect!(held.on_exit(|_| ()).is_err(), "too late for another");
        })?;
        Ok(())
    }

    #[test(irql = dispatch)]
    async fn go_to_the_level_of_the_case(fixture: &Fixture, dispatch: &Dispatch) {
        let _ = dispatch;
        event("case");
        expect_eq!((fixture.0, irql::current()), (1, 2));
    }

    #[test(params = ["a", "b"])]
    fn are_made_for_each_parameter(word: &&str, fixture: &Fixture) {
        event("case");
        expect_eq!(fixture.0, 1);
        expect_eq!(word.len(), 1);
    }
}

#[kunit_tests(levels)]
mod levels {
    use super::*;

    #[test]
    fn passive(_passive: &Passive) {
        expect_eq!(irql::current(), 0);
    }

    #[test(irql = dispatch)]
    fn dispatch() {
        expect_eq!(irql::current(), 2);
        // SAFETY: reading the processor's number has no precondition.
        expect_eq!(unsafe { sys::KeGetCurrentProcessorIndex() }, 0);
    }

    #[test(irql = dispatch, processor = 1)]
    async fn another_processor(test: &Test, _dispatch: &Dispatch) {
        for _ in 0..3 {
            // SAFETY: as above.
            expect_eq!((irql::current(), unsafe { sys::KeGetCurrentProcessorIndex() }), (2, 1));
            test.system().timers.sleep(Duration::from_millis(1)).await;
        }
    }

    #[test(irql = dispatch, processor = 63)]
    fn a_processor_that_is_not_there() {
        fail!("the kernel has two");
    }

    #[test(speed = slow)]
    async fn tasks_of_a_case_share_its_executors(test: &Test) -> Outcome {
        let task = test.system().dispatch.spawn(|_| async { irql::current() })?;
        expect_eq!(task.await?, 2);
        let task = test.system().passive.spawn(|_| async { irql::current() })?;
        expect_eq!(task.await?, 0);
        Ok(())
    }
}

#[kunit_tests(outcomes)]
mod outcomes {
    use super::*;

    const WORDS: &[(&str, usize)] = &[("one", 3), ("three # 3", 9)];

    #[test(params = WORDS)]
    fn parameters_are_named((word, length): &(&str, usize)) {
        expect_eq!(word.len(), *length);
    }

    /// One where nothing runs has not passed.
    #[test(params = [])]
    fn a_case_may_lack_parameters(_word: &&str) {
        fail!("it was run");
    }

    #[test]
    fn the_host_gives_parameters(test: &Test) -> Outcome {
        expect_eq!(test.parameter("answer"), Some("42 = 6 * 7"));
        expect_eq!(test.parameter("question"), None);
        ensure_eq!(test.environment(), kunit::Environment::Ntsim)?;
        Ok(())
    }

    #[test]
    fn a_case_may_skip_itself() -> Outcome {
        skip!("for a reason")?;
        fail!("it went on");
        Ok(())
    }

    #[test]
    async fn a_case_may_mark_itself_and_go_on(test: &Test) -> Outcome {
        mark_skipped!("for another reason");
        test.on_exit(|_| event("went on"))?;
        Ok(())
    }

    #[test(skip(ntsim = "it would fail"), irql = dispatch)]
    fn a_case_may_be_skipped_here() {
        fail!("it was run");
    }

    #[test(needs = [dpc, a_flying_pig])]
    fn a_case_may_need_what_is_lacking() -> Outcome {
        // Nobody says that the simulated kernel lacks one, unless the host does.
        Ok(())
    }

    #[test(xfail(ntsim = "a known bug", wine = "another"))]
    fn a_failure_may_be_expected() {
        expect!(1 > 2);
    }

    #[test(xfail(wine = "only there"))]
    fn a_failure_may_be_expected_elsewhere() -> wsk_async::status::Result<()> {
        Ok(())
    }

    #[test]
    fn checks_say_what_they_found() {
        let (a, b) = (expect!(true), expect_eq!(1, 1, "never {}", "said"));
        let c = expect_ne!("x", "y");
        expect!(a && b && c);
    }

    #[test]
    async fn dropped_work_may_end_after_the_case(test: &Test) -> Outcome {
        // Its task is freed a little later, by its executor; that is no leak.
        let timers = test.system().timers.clone();
        let task =
            test.system().dispatch.spawn(move |_| async move { timers.sleep(Duration::from_millis(30)).await })?;
        drop(task);
        Ok(())
    }
}
