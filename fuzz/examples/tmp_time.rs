use std::time::{Instant,Duration};
use std::collections::BTreeMap;
use arbitrary::{Arbitrary,Unstructured};
use token_tracker_fuzz::state_bench::StateBench;
use token_tracker_fuzz::state_plan::Plan;
fn main() {
    let mut times: BTreeMap<String,(Duration,u32)> = BTreeMap::new();
    let mut bench = StateBench::new();
    let mut add=|k:&str,d:Duration| {let e=times.entry(k.to_owned()).or_default(); e.0+=d; e.1+=1;};
    let files: Vec<_> = std::fs::read_dir("/tmp/smc").unwrap().map(|f| f.unwrap().path()).filter(|p| p.file_name().unwrap().to_string_lossy().starts_with("r")).collect();
    let mut outcomes: BTreeMap<String,u64> = BTreeMap::new();
    for f in files {
        let bytes = std::fs::read(&f).unwrap();
        let plan = Plan::arbitrary(&mut Unstructured::new(&bytes)).unwrap();
        let t=Instant::now(); bench.start_afresh(); add("start",t.elapsed());
        for s in &plan.steps { let faulty = bench.trouble.is_some(); let t=Instant::now(); bench.take(s); let n=format!("{s:?}"); let n=n.split(|c:char| !c.is_alphabetic()).next().unwrap(); add(&format!("{n} {faulty}"),t.elapsed()); }
        let t=Instant::now(); bench.finish(plan.steps.len()%4==0); add("finish",t.elapsed());
        for t in &bench.tokens[bench.first..] { for (k,v) in &t.counts.outcomes { *outcomes.entry(k.clone()).or_default()+=v; } for a in &t.acts { *outcomes.entry(format!("act {a:?}")).or_default()+=1; } for (k,v) in &t.counts.late { let e=outcomes.entry(format!("late {}",k.1)).or_default(); *e+=v.1; let e=outcomes.entry(format!("maybe late {}",k.1)).or_default(); *e+=v.1-v.0;} }
    }
    for (k,(d,n)) in times { println!("{k:30} {:?} x{n} = {:?}", d/n.max(1), d); }
    for (k,v) in outcomes { println!("{k:40} {v}"); }
}
