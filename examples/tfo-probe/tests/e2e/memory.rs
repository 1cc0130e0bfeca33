//! The probe over the network in memory, where every path and every server can be had, and nothing of the host is needed.

use crate::{Network as Place, Scenario};
use ntsim::explore::Explore;
use ntsim::network::{
    Conditions, Connection, FastOpen, ListenOptions, Listener, MACHINE_V4, Middlebox, Network, NetworkStats, Peer,
    SynData,
};
use ntsim::{Builder, Kernel};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tfo_probe::evidence::Evidence;
use tfo_probe::protocol::{IOCTL_PROBE, Phase, Response, ServerReport, USER_PATH, response_len};
use tfo_probe::session::Probe;
use tfo_probe::verdict::{Judgement, Verdict, judge};
use wsk_sys::{
    STATUS_CONNECTION_REFUSED, STATUS_HOST_UNREACHABLE, STATUS_IO_TIMEOUT, STATUS_NOT_FOUND, STATUS_SUCCESS,
};

pub(crate) const SCENARIOS: [Scenario; 9] = [
    Scenario { name: "memory_used", network: Place::Host, run: used },
    Scenario { name: "memory_refused", network: Place::Host, run: refused },
    Scenario { name: "memory_no_cookie", network: Place::Host, run: no_cookie },
    Scenario { name: "memory_syn_dropped", network: Place::Host, run: syn_dropped },
    Scenario { name: "memory_fell_back", network: Place::Host, run: fell_back },
    Scenario { name: "memory_cookie_expires", network: Place::Host, run: cookie_expires },
    Scenario { name: "memory_bad_targets", network: Place::Host, run: bad_targets },
    Scenario { name: "memory_next_address", network: Place::Host, run: next_address },
    Scenario { name: "memory_in_any_order", network: Place::Host, run: in_any_order },
];

pub(crate) const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
pub(crate) const PORT: u16 = 7413;

/// The probe's own server as a peer: the report, then the echo.
#[derive(Default)]
struct ProbeServer {
    reported: bool,
}

impl ProbeServer {
    fn report(&mut self, connection: &Connection) {
        if !std::mem::replace(&mut self.reported, true) {
            let syn_data = Some(matches!(connection.syn_data(), SynData::Accepted(_)));
            connection.send(&ServerReport { syn_data }.to_bytes());
        }
    }
}

impl Peer for ProbeServer {
    fn received(&mut self, connection: &Connection, data: &[u8]) {
        self.report(connection);
        connection.send(data);
    }

    fn ended(&mut self, connection: &Connection) {
        self.report(connection);
        connection.finish();
    }
}

pub(crate) fn serve(network: &Network, options: ListenOptions) -> Listener {
    network.listen((SERVER, PORT).into(), options, || Box::<ProbeServer>::default()).expect("a free port")
}

/// Runs a probe on a kernel of its own.
fn probe(builder: Builder, tries: u32, targets: &[&str]) -> Vec<Evidence> {
    let kernel = builder.debug_sink(|_| ()).start();
    let driver = kernel.load("tfo-probe", tfo_probe::driver_entry).expect("the driver loads");
    let file = kernel.open(USER_PATH).expect("the device opens");
    let targets: Vec<_> = targets.iter().map(|host| ((*host).into(), PORT)).collect();
    // Some bytes in the SYN, most after it.
    let payload = (0..10_000_u32).map(|i| (i * 7) as u8).collect();
    let probe = Probe { tries, timeout_ms: 20_000, payload, targets };
    let mut output = vec![0; response_len(probe.targets.len(), tries)];
    let (status, _) = file.ioctl(IOCTL_PROBE, &probe.request().expect("a good request"), &mut output);
    assert_eq!(status, STATUS_SUCCESS);
    let response = Response::parse(&output).expect("a good response");
    let evidence =
        probe.targets.iter().enumerate().map(|(index, (host, port))| {
            Evidence::from_response(&response, index, host.clone(), *port).expect("a target")
        });
    let evidence = evidence.collect();
    drop(file);
    driver.unload();
    kernel.shutdown();
    evidence
}

/// Probes the server; the verdict, and what was sent.
fn judged(network: &Network, tries: u32) -> (Judgement, NetworkStats) {
    let evidence = probe(Kernel::builder().network(network), tries, &["203.0.113.1"]);
    assert_eq!(evidence[0].target.status, STATUS_SUCCESS, "{evidence:?}");
    assert_eq!(evidence[0].tries.len(), tries as usize);
    (judge(&evidence[0]), network.stats())
}

fn used() {
    let network = Network::new();
    let _server = serve(&network, ListenOptions::fast_open());
    let (judgement, stats) = judged(&network, 5);
    assert_eq!((judgement.verdict, judgement.inferred), (Verdict::Used, false), "{}", judgement.reason);
    assert_eq!((stats.syns, stats.cookie_requests), (10, 1));
    assert_eq!((stats.syn_data_accepted, stats.syn_data_refused), (4, 0), "from the second try on");
}

fn refused() {
    let network = Network::new();
    let listener = Arc::new(OnceLock::<Listener>::new());
    let connections = AtomicU32::new(0);
    let make = {
        let listener = Arc::clone(&listener);
        move || -> Box<dyn Peer> {
            // After the plain connection of the second try.
            if connections.fetch_add(1, Ordering::Relaxed) == 3 {
                let options = ListenOptions { fast_open: FastOpen::Refuse, ..ListenOptions::default() };
                listener.get().expect("set before the probe").set_options(options);
            }
            Box::<ProbeServer>::default()
        }
    };
    let listening = network.listen((SERVER, PORT).into(), ListenOptions::fast_open(), make).expect("a free port");
    assert!(listener.set(listening).is_ok());
    let (judgement, stats) = judged(&network, 5);
    assert_eq!((judgement.verdict, judgement.inferred), (Verdict::Refused, false), "{}", judgement.reason);
    assert_eq!((stats.syn_data_accepted, stats.syn_data_refused), (1, 3));
}

fn no_cookie() {
    let network = Network::new();
    let _server = serve(&network, ListenOptions::default());
    let (judgement, stats) = judged(&network, 3);
    assert_eq!((judgement.verdict, judgement.inferred), (Verdict::NotGranted, false), "{}", judgement.reason);
    assert_eq!((stats.cookie_requests, stats.syns_with_data), (3, 0));
}

fn syn_dropped() {
    let network = Network::new();
    let _server = serve(&network, ListenOptions::fast_open());
    let drops = Conditions { middlebox: Middlebox::DropSynData, ..Conditions::default() };
    network.set_path(MACHINE_V4.into(), SERVER, drops);
    let (judgement, stats) = judged(&network, 4);
    assert_eq!((judgement.verdict, judgement.inferred), (Verdict::SynDropped, false), "{}", judgement.reason);
    assert_eq!((stats.dropped_by_middlebox, stats.syns_with_data), (2, 2), "in the last try the client does without");
    assert_eq!(stats.syns, 8 + 2, "each of the two was followed by a plain one");
}

fn fell_back() {
    let network = Network::new();
    let _server = serve(&network, ListenOptions::fast_open());
    // Windows 10 1607: the option is there, the connect with data is not.
    let evidence = probe(Kernel::builder().network(&network).os_build(14393), 3, &["203.0.113.1"]);
    assert_eq!(judge(&evidence[0]).verdict, Verdict::FellBack);
    assert_eq!(network.stats().syns_with_data, 0);
}

/// A server that changes its key refuses the old cookie once, and grants a new one with that.
fn cookie_expires() {
    let network = Network::new();
    let _server = serve(&network, ListenOptions::fast_open());
    judged(&network, 2);
    network.change_cookie_key(SERVER);
    let (judgement, stats) = judged(&network, 3);
    assert_eq!(judgement.verdict, Verdict::Used, "{}", judgement.reason);
    assert_eq!((stats.cookies_invalid, stats.cookies_granted), (1, 2));
    assert_eq!((stats.syn_data_accepted, stats.syn_data_refused), (1 + 2, 1));
}

fn bad_targets() {
    let network = Network::new();
    let _server = serve(&network, ListenOptions::fast_open());
    network.add_name("server.test", &[SERVER]);
    let full = ListenOptions { queue_full: true, ..ListenOptions::default() };
    let black_hole = SocketAddr::from((Ipv4Addr::new(203, 0, 113, 2), PORT));
    let _black_hole = network.listen(black_hole, full, || Box::<ProbeServer>::default()).expect("a free port");
    network.set_timing(ntsim::network::Timing { syn_retries: 0, ..Default::default() });
    network.add_host(Ipv4Addr::new(203, 0, 113, 3).into());
    let targets = ["no-such-host.test", "203.0.113.2", "203.0.113.3", "203.0.113.4", "SERVER.test"];
    let evidence = probe(Kernel::builder().network(&network), 3, &targets);
    let seen: Vec<_> = evidence.iter().map(|target| (target.target.status, target.target.phase)).collect();
    assert_eq!(
        seen,
        [
            (STATUS_NOT_FOUND, Phase::Resolve),
            (STATUS_IO_TIMEOUT, Phase::Connect),
            (STATUS_CONNECTION_REFUSED, Phase::Connect),
            (STATUS_HOST_UNREACHABLE, Phase::Connect),
            (STATUS_SUCCESS, Phase::None),
        ]
    );
    assert_eq!(judge(&evidence[4]).verdict, Verdict::Used);
}

/// Where nobody answers at the first address of a name, the next one is taken.
fn next_address() {
    let network = Network::new();
    let _server = serve(&network, ListenOptions::fast_open());
    let refuses = IpAddr::from(Ipv4Addr::new(203, 0, 113, 3));
    network.add_host(refuses);
    network.add_name("server.test", &[refuses, SERVER]);
    let evidence = probe(Kernel::builder().network(&network), 3, &["server.test"]);
    assert_eq!(judge(&evidence[0]).verdict, Verdict::Used, "{evidence:?}");
    assert_eq!(evidence[0].target.address[..4], [203, 0, 113, 1]);
}

/// A server that knows nothing of probes: it answers the first bytes with one byte.
struct ForeignServer;

impl Peer for ForeignServer {
    fn received(&mut self, connection: &Connection, _data: &[u8]) {
        connection.send(b"x");
        connection.finish();
    }
}

/// In explore mode, where time is virtual, times alone tell what Fast Open saves, in whatever order things happen.
fn in_any_order() {
    let servers = [(ListenOptions::fast_open(), Verdict::Used), (ListenOptions::default(), Verdict::NotGranted)];
    for (options, verdict) in servers {
        // No slack: on a machine that is slow at random, times tell nothing.
        let explore = Explore::new("probe").schedules(10).slack(Duration::ZERO);
        let report = explore.run(|| {
            let network = Network::new();
            network.set_conditions(Conditions { latency: Duration::from_millis(20), ..Conditions::default() });
            let make = || -> Box<dyn Peer> { Box::new(ForeignServer) };
            let _server = network.listen((SERVER, PORT).into(), options.clone(), make).expect("a free port");
            let (judgement, stats) = judged(&network, 5);
            assert_eq!((judgement.verdict, judgement.inferred), (verdict, true), "{}", judgement.reason);
            assert_eq!(stats.syns, 10);
        });
        assert_eq!(report.schedules, 10);
    }
}
