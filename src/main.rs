use std::ffi::OsString;
use std::os::fd::AsFd;
fn main() {
    let policy = creel::policy::preset::default().unwrap();
    let request = creel::plan::Request { command: std::env::args_os().skip(1).collect::<Vec<OsString>>(), ..Default::default() };
    let (host, pins) = creel::jail::probe(&policy, &request).unwrap();
    let plan = creel::plan::resolve(&policy, &request, &host).unwrap();
    if std::env::var_os("DRY").is_some() { println!("{}", plan.to_text()); return }
    creel::plan::check_order(&plan).unwrap();
    let ready = creel::jail::freeze(plan, &host, pins, Default::default(), "/run/creel".as_ref()).unwrap();
    let mut live = ready.spawn().unwrap();
    let mut b=[0;64*2];
    loop {
        let (n,_f) = creel::sys::socket::receive(live.socket.as_fd(), &mut b, creel::sys::socket::Wait::Yes).unwrap();
        if n==0 {break}
        let m = creel::jail::wire::Message::decode(&b[..n]);
        if let Some(creel::jail::wire::Message::Failed{step,..}) = m { eprintln!("at {:?}", live.plan.acts.get(step as usize)); }
        eprintln!("{m:?}");
    }
    eprintln!("{:?}", live.reap());
    live.clean();
}
