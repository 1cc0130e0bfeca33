//! Executors: order, joining, aborting, giving way, wakers that outlive their task, and the end.

use kunit::prelude::*;

#[kunit_tests(exec)]
pub(crate) mod cases {
    use super::*;
    use crate::support::{Alive, LONG, MOMENT, once};
    use core::cell::Cell;
    use core::future::poll_fn;
    use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
    use core::task::{Context, Poll, Waker};
    use wsk_async::exec::{Budget, DispatchExecutor, Executor, PassiveExecutor, Spawner, TaskStorage, yield_now};
    use wsk_async::irql::Level;
    use wsk_async::mem::{Shared, live};
    use wsk_async::status::Result;

    /// Spawns tasks that say when they run.
    async fn in_order<L: Level>(spawner: &Spawner<L>) -> Outcome {
        let next = Shared::try_new(AtomicUsize::new(0))?;
        for n in 0..100 {
            let next = next.clone();
            drop(spawner.spawn(move |_| async move { expect_eq!(next.fetch_add(1, SeqCst), n) })?);
        }
        let all = next.clone();
        spawner.spawn(move |_| async move { expect_eq!(all.load(SeqCst), 100) })?.await?;
        Ok(())
    }

    #[test]
    async fn tasks_run_in_the_order_of_their_spawns(test: &Test) -> Outcome {
        in_order(&test.system().passive).await?;
        in_order(&test.system().dispatch).await
    }

    #[test(irql = dispatch)]
    async fn tasks_run_in_the_order_of_their_spawns_at_dispatch(test: &Test) -> Outcome {
        in_order(&test.system().dispatch).await?;
        in_order(&test.system().passive).await
    }

    #[test(irql = dispatch)]
    async fn who_gives_way_comes_after_the_others(test: &Test) -> Outcome {
        static STEPS: AtomicUsize = AtomicUsize::new(0);
        STEPS.store(0, SeqCst);
        let other = test.system().dispatch.spawn(|_| async {
            for _ in 0..50 {
                STEPS.fetch_add(1, SeqCst);
                yield_now().await;
            }
        })?;
        for step in 0..50 {
            expect_eq!(STEPS.load(SeqCst), step);
            yield_now().await;
        }
        other.await?;
        Ok(())
    }

    #[test]
    async fn a_future_need_not_be_send(test: &Test) -> Outcome {
        let task = test.system().dispatch.spawn(|_| async {
            let local = Cell::new(1);
            let borrowed = &local;
            yield_now().await;
            borrowed.set(borrowed.get() + 1);
            local.get()
        })?;
        expect_eq!(task.await?, 2);
        Ok(())
    }

    #[test]
    async fn executors_take_turns(test: &Test) -> Outcome {
        let system = test.system();
        let mut number = 0;
        for round in 0..500 {
            number = if round % 2 == 0 {
                system.dispatch.spawn(move |_: Dispatch| async move { number + 1 })?.await?
            } else {
                system.passive.spawn(move |_: Passive| async move { number + 1 })?.await?
            };
        }
        expect_eq!(number, 500);
        Ok(())
    }

    #[test]
    async fn an_aborted_task_drops_its_future(test: &Test) -> Outcome {
        static ALIVE: AtomicUsize = AtomicUsize::new(0);
        let system = test.system();
        for polled in [false, true] {
            let timers = system.timers.clone();
            let alive = Alive::new(&ALIVE);
            let task = system.dispatch.spawn(move |_| async move {
                let _alive = alive;
                timers.sleep(LONG).await;
            })?;
            if polled {
                system.timers.sleep(MOMENT).await;
                expect!(!task.is_finished());
            }
            task.abort();
            expect_eq!(task.await, Err(NtStatus::CANCELLED));
        }
        expect_eq!(ALIVE.load(SeqCst), 0);
        Ok(())
    }

    #[test]
    async fn a_detached_task_goes_on_and_its_output_is_dropped(test: &Test) -> Outcome {
        static ALIVE: AtomicUsize = AtomicUsize::new(0);
        static RAN: AtomicBool = AtomicBool::new(false);
        RAN.store(false, SeqCst);
        let timers = test.system().timers.clone();
        let alive = Alive::new(&ALIVE);
        drop(test.system().dispatch.spawn(move |_| async move {
            timers.sleep(MOMENT).await;
            RAN.store(true, SeqCst);
            alive
        })?);
        for _ in 0..500 {
            if RAN.load(SeqCst) && ALIVE.load(SeqCst) == 0 {
                return Ok(());
            }
            test.system().timers.sleep(core::time::Duration::from_millis(1)).await;
        }
        fail!("ran: {}, alive: {}", RAN.load(SeqCst), ALIVE.load(SeqCst));
        Ok(())
    }

    #[test]
    async fn an_output_waits_for_its_handle(test: &Test) -> Outcome {
        let task = test.system().dispatch.spawn(|_| async { 7 })?;
        let abort = task.abort_handle();
        while !task.is_finished() {
            yield_now().await;
        }
        task.abort();
        abort.ok_or(NtStatus::NOT_FOUND)?.abort();
        expect_eq!(task.await, Ok(7), "what has completed is not aborted");
        Ok(())
    }

    #[test]
    async fn a_static_task_is_spawned_again_and_allocates_nothing(test: &Test) -> Outcome {
        static STORAGE: TaskStorage<64> = TaskStorage::new();
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        COUNT.store(0, SeqCst);
        let system = test.system();
        let before = live();
        for round in 0..200 {
            loop {
                let spawned = match round % 2 {
                    0 => system.passive.spawn_static(&STORAGE, |_| async {
                        yield_now().await;
                        COUNT.fetch_add(1, SeqCst);
                    }),
                    _ => system.dispatch.spawn_static(&STORAGE, |_| async {
                        yield_now().await;
                        COUNT.fetch_add(1, SeqCst);
                    }),
                };
                match spawned {
                    // The task before has not had its last turn.
                    Err(NtStatus::DEVICE_BUSY) => yield_now().await,
                    result => break result?,
                }
            }
            while COUNT.load(SeqCst) <= round {
                yield_now().await;
            }
            expect!(live() <= before);
        }
        Ok(())
    }

    #[test]
    async fn a_static_task_that_runs_is_busy(test: &Test) -> Outcome {
        static STORAGE: TaskStorage<128> = TaskStorage::new();
        static MAY_END: AtomicBool = AtomicBool::new(false);
        static ENDED: AtomicBool = AtomicBool::new(false);
        MAY_END.store(false, SeqCst);
        ENDED.store(false, SeqCst);
        let system = test.system();
        let timers = system.timers.clone();
        system.dispatch.spawn_static(&STORAGE, move |_| async move {
            while !MAY_END.load(SeqCst) {
                timers.sleep(core::time::Duration::from_millis(1)).await;
            }
            ENDED.store(true, SeqCst);
        })?;
        expect_eq!(system.passive.spawn_static(&STORAGE, |_| async {}), Err(NtStatus::DEVICE_BUSY));
        MAY_END.store(true, SeqCst);
        while !ENDED.load(SeqCst) {
            system.timers.sleep(core::time::Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Gives out its waker, and is ready when it is told.
    struct Gate(AtomicBool, core::cell::UnsafeCell<Option<Waker>>, AtomicBool);

    // SAFETY: the waker is written before the third field is set, once, and taken after that.
    unsafe impl Sync for Gate {}
    // SAFETY: as above; wakers are Send.
    unsafe impl Send for Gate {}

    impl Gate {
        fn poll(&self, cx: &Context<'_>) -> Poll<()> {
            if self.0.load(SeqCst) {
                return Poll::Ready(());
            }
            if !self.2.load(SeqCst) {
                // SAFETY: nobody takes it before the flag is set.
                unsafe { *self.1.get() = Some(cx.waker().clone()) };
                self.2.store(true, SeqCst);
            }
            Poll::Pending
        }
    }

    #[test]
    async fn a_waker_may_be_used_twice_and_late(test: &Test) -> Outcome {
        let gate = Shared::try_new(Gate(AtomicBool::new(false), Default::default(), AtomicBool::new(false)))?;
        let theirs = gate.clone();
        let mut task = test.system().dispatch.spawn(move |_| async move { poll_fn(|cx| theirs.poll(cx)).await })?;
        while !gate.2.load(SeqCst) {
            yield_now().await;
        }
        // SAFETY: the flag is set, and this is the only taker.
        let waker = unsafe { (*gate.1.get()).take() }.ok_or(NtStatus::NOT_FOUND)?;
        waker.wake_by_ref();
        waker.wake_by_ref();
        test.system().timers.sleep(MOMENT).await;
        expect!(once(&mut task).await.is_none(), "woken, but not ready");
        gate.0.store(true, SeqCst);
        waker.wake_by_ref();
        task.await?;
        waker.wake_by_ref();
        waker.wake();
        Ok(())
    }

    #[test]
    fn a_budget_ends() {
        let mut budget = Budget::new();
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..Budget::READY {
            expect!(budget.poll_spend(&mut cx).is_ready());
        }
        expect!(budget.poll_spend(&mut cx).is_pending());
        expect!(budget.poll_spend(&mut cx).is_ready(), "it is full again");
    }

    /// Starts an executor, keeps it busy and ends it.
    async fn ends<L: Level>(executor: Result<Executor<L>>, test: &Test, passive: &Passive) -> Outcome {
        static ALIVE: AtomicUsize = AtomicUsize::new(0);
        let executor = executor?;
        let spawner = executor.spawner();
        let timers = test.system().timers.clone();
        let alive = Alive::new(&ALIVE);
        let sleeper = spawner.spawn(move |_| async move {
            let _alive = alive;
            timers.sleep(LONG).await;
        })?;
        expect_eq!(spawner.spawn(|_| async { 1 })?.await, Ok(1));
        let stopping = executor.stop();
        expect_eq!(spawner.spawn(|_| async {}).err(), Some(NtStatus::DELETE_PENDING));
        expect_eq!(sleeper.await, Err(NtStatus::CANCELLED));
        expect!(stopping.wait_timeout(passive, 5000), "{} are left", stopping.live());
        expect_eq!((stopping.live(), ALIVE.load(SeqCst)), (0, 0));
        stopping.wait_closed(passive);
        Ok(())
    }

    #[test]
    async fn a_passive_executor_ends(test: &Test, passive: &Passive) -> Outcome {
        ends(PassiveExecutor::start(passive), test, passive).await
    }

    #[test]
    async fn a_dispatch_executor_ends(test: &Test, passive: &Passive) -> Outcome {
        ends(DispatchExecutor::start(passive, 0), test, passive).await
    }

    #[test(needs = dpc)]
    fn a_processor_that_is_not_there_is_an_error(passive: &Passive) {
        expect_eq!(DispatchExecutor::start(passive, 5000).err(), Some(NtStatus::INVALID_PARAMETER));
    }

    #[test]
    async fn a_handle_holds_its_executor_up(test: &Test, passive: &Passive) -> Outcome {
        let executor = DispatchExecutor::start(passive, 0)?;
        let timers = test.system().timers.clone();
        let task = executor.spawn(move |_| async move { timers.sleep(LONG).await })?;
        let stopping = executor.stop();
        // Until it has come to rest it does not know.
        while stopping.live() != 1 {
            ensure!(!stopping.wait_timeout(passive, 5), "closed, although a handle is left")?;
        }
        expect!(!stopping.wait_timeout(passive, 20), "closed, although a handle is left");
        drop(task);
        expect!(stopping.wait_timeout(passive, 5000));
        Ok(())
    }

    #[test(speed = slow)]
    async fn a_thousand_tasks_on_two_executors(test: &Test) -> Outcome {
        let count = Shared::try_new(AtomicUsize::new(0))?;
        let system = test.system();
        for n in 0..1000 {
            let (count, timers) = (count.clone(), system.timers.clone());
            let wait = core::time::Duration::from_millis(n % 7);
            drop(if n % 2 == 0 {
                system.passive.spawn(move |_| async move {
                    timers.sleep(wait).await;
                    count.fetch_add(1, SeqCst);
                })?
            } else {
                system.dispatch.spawn(move |_| async move {
                    timers.sleep(wait).await;
                    count.fetch_add(1, SeqCst);
                })?
            });
        }
        while count.load(SeqCst) < 1000 {
            system.timers.sleep(core::time::Duration::from_millis(1)).await;
        }
        Ok(())
    }
}
