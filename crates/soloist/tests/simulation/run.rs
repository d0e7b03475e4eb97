//! One run: a fleet at work, storms and calms, and an end at which all have gone.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use soloist::testing::{
    Checker, Dice, History, Planted, Recorder, RecordingStore, SimulatedStore, Violation, VirtualTime,
    Weather, What, World, simulate,
};
use soloist::{Client, Moment};
use tokio::task::JoinHandle;

use crate::party::{MS, Party, Registers, weather};

const LOCKS: &[&str] = &["lock:a", "lock:b"];
const FLIGHTS: &[&str] = &["flight:a", "flight:b"];

/// What a run is about.
#[derive(Clone, Default)]
pub struct Setup {
    /// A fault that the store has.
    pub planted: Option<Planted>,
    /// Whether its fleet rotates, too.
    pub rotates: bool,
}

/// What came of it.
pub struct Run {
    pub seed: u64,
    pub rotates: bool,
    pub history: History,
    pub violations: Vec<Violation>,
    pub faults: BTreeMap<&'static str, u64>,
    pub time: Duration,
}

impl Run {
    pub fn requests(&self) -> usize {
        let asked = self.history.records.iter().filter(|record| matches!(record.what, What::Asked { .. }));
        asked.count()
    }

    pub fn summary(&self) -> String {
        let (seed, time) = (self.seed, self.time.as_secs());
        let rotates = if self.rotates { ", rotating" } else { "" };
        format!("seed {seed}{rotates}: {time} s, {} requests, {:?}", self.requests(), self.faults)
    }

    /// Fails with the first violation, if there is one.
    pub fn demand_none(&self) {
        let Some(first) = self.violations.first() else { return };
        let (all, seed) = (self.violations.len(), self.seed);
        let rotates = if self.rotates { "ROTATES=1 " } else { "" };
        let replay =
            format!("{rotates}SEED={seed} cargo test -p soloist --test simulation replay -- --nocapture");
        panic!("{all} violations, the first of them:\n{first}\n{}\nreplay: {replay}", self.summary());
    }
}

/// Runs one seed.
pub fn run(seed: u64, setup: Setup) -> Run {
    simulate(seed, |time| async move {
        let began = Moment::now();
        let mut fleet = Fleet::new(seed, time, &setup);
        for _ in 0..3 {
            fleet.calm().await;
            fleet.storm().await;
        }
        fleet.calm().await;
        fleet.end().await;
        let history = fleet.recorder.history();
        let violations = Checker::default().check(&history);
        let (faults, time) = (fleet.world.faults(), Moment::now().since(began));
        Run { seed, rotates: setup.rotates, history, violations, faults, time }
    })
}

struct Process {
    party: Party,
    store: Arc<SimulatedStore>,
    tasks: Vec<JoinHandle<()>>,
}

struct Fleet {
    time: Rc<VirtualTime>,
    dice: Dice,
    world: World,
    recorder: Recorder,
    registers: Registers,
    processes: Vec<Process>,
    stopped: Arc<AtomicBool>,
    /// The locks of killed holders that could not be broken in bad weather.
    unbroken: BTreeSet<&'static str>,
    /// Whether this run loses data; if not, its clock steps. With both, tokens are not promised to grow.
    loses_data: bool,
    rotates: bool,
}

impl Fleet {
    fn new(seed: u64, time: Rc<VirtualTime>, setup: &Setup) -> Self {
        let mut dice = Dice::new(seed);
        let world = World::new(dice.next_u64());
        world.leases_end_with_sessions(dice.chance(30));
        if let Some(planted) = setup.planted {
            world.plant(planted);
        }
        let (loses_data, rotates) = (dice.chance(50), setup.rotates);
        let (recorder, registers) = (Recorder::new(0), Registers::Memory(Arc::default()));
        let (processes, stopped, unbroken) = (Vec::new(), Arc::default(), BTreeSet::new());
        let mut fleet = Fleet {
            time,
            dice,
            world,
            recorder,
            registers,
            processes,
            stopped,
            unbroken,
            loses_data,
            rotates,
        };
        for id in 1..=fleet.dice.between(2, 4) {
            let process = fleet.start(id as u32);
            fleet.processes.push(process);
        }
        fleet
    }

    fn start(&mut self, id: u32) -> Process {
        let store = self.world.session();
        let recorded = RecordingStore::new(Arc::clone(&store) as _, self.recorder.clone(), id);
        let client = Client::builder().holder(format!("client-{id}")).store(Arc::new(recorded)).unwrap();
        let (recorder, registers) = (self.recorder.clone(), self.registers.clone());
        let party = Party { id, client, recorder, registers, rotates: self.rotates };
        let tasks = (0..self.dice.between(1, 4)).map(|_| {
            let (party, gate, dice) = (party.clone(), Arc::clone(store.gate()), self.dice.split());
            let stopped = Arc::clone(&self.stopped);
            tokio::spawn(async move {
                gate.run(party.work(dice, LOCKS, FLIGHTS, || stopped.load(Ordering::SeqCst))).await;
            })
        });
        let tasks = tasks.collect();
        Process { party, store, tasks }
    }

    fn tell(&self, client: u32, what: What) {
        self.recorder.record(client, what);
    }

    fn fault(&self, kind: &str) {
        self.tell(0, What::Fault { kind: kind.into() });
    }

    async fn calm(&mut self) {
        let time = MS(self.dice.between(50_000, 90_000));
        tokio::time::sleep(time / 2).await;
        self.world.flush_scripts();
        tokio::time::sleep(time / 2).await;
    }

    async fn storm(&mut self) {
        for _ in 0..self.dice.between(1, 5) {
            self.one_fault().await;
            if self.dice.chance(30) {
                tokio::time::sleep(MS(self.dice.between(0, 5000))).await;
            }
        }
        self.world.set_weather(Weather::default());
        // Some weathers let nothing through as long as they last.
        for key in std::mem::take(&mut self.unbroken) {
            while !self.processes[0].party.breaks(key, false).await {}
        }
        self.tell(0, What::Calm);
    }

    async fn one_fault(&mut self) {
        let at = self.dice.below(self.processes.len() as u64) as usize;
        let (id, store) = (self.processes[at].party.id, Arc::clone(&self.processes[at].store));
        let long = MS(self.dice.between(200, 20_000));
        match self.dice.below(7) {
            0 => {
                self.fault("weather");
                let weather = weather(&mut self.dice);
                self.world.set_weather(weather);
                tokio::time::sleep(long).await;
            }
            1 => {
                self.fault("cut off");
                store.set_cut(true);
                tokio::time::sleep(long).await;
                store.set_cut(false);
            }
            2 => {
                self.fault("stopped");
                self.tell(id, What::Stopped);
                store.gate().shut();
                tokio::time::sleep(long).await;
                store.gate().open();
                self.tell(id, What::Went);
            }
            3 => self.kill(at).await,
            4 => {
                self.fault("server down");
                self.world.set_down(true);
                tokio::time::sleep(long / 2).await;
                if self.loses_data {
                    let last = self.world.lose_data();
                    self.tell(0, What::DataLost { last });
                }
                self.world.set_down(false);
            }
            5 => {
                self.fault("machine asleep");
                self.tell(0, What::Stopped);
                self.time.suspend(long);
                self.tell(0, What::Went);
            }
            _ if self.loses_data => {
                self.fault("server starts again");
                let last = self.world.lose_data();
                self.tell(0, What::DataLost { last });
                self.world.set_down(true);
                self.world.set_down(false);
            }
            _ => {
                let by = self.dice.between(0, 16_000_000) as i64 - 8_000_000;
                self.fault("clock step");
                self.tell(0, What::ClockStepped { by });
                self.world.step_clock(by);
            }
        }
    }

    /// kill -9, and another process in its place.
    async fn kill(&mut self, at: usize) {
        self.fault("killed");
        let id = self.processes[at].party.id;
        let next = self.start(id);
        let Process { store, tasks, party } = std::mem::replace(&mut self.processes[at], next);
        self.tell(id, What::Killed);
        store.kill();
        tasks.iter().for_each(JoinHandle::abort);
        for task in tasks {
            let _ = task.await;
        }
        drop(party);
        // A lease without an end of its own would stand for ever.
        let party = self.processes[at].party.clone();
        for key in LOCKS {
            if !party.breaks(key, false).await {
                self.unbroken.insert(key);
            }
        }
    }

    /// All stop, wait for what they have begun, and go.
    async fn end(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        for Process { party, tasks, .. } in std::mem::take(&mut self.processes) {
            for mut task in tasks {
                if let Ok(ended) = tokio::time::timeout(MS(120_000), &mut task).await {
                    ended.unwrap();
                } else {
                    // The checker finds a request that never ended.
                    task.abort();
                }
            }
            party.client.close().await;
        }
        let [held, waiting, subscriptions, connections] = self.world.left();
        self.tell(0, What::Left { held, waiting, subscriptions, connections });
    }
}
