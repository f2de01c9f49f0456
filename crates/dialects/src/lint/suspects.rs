//! Names of suspicious programs, paths, variables and files.

use creel_policy::words::NameList;

/// Shells, by their names.
pub const SHELLS: NameList = NameList("ash bash busybox csh dash fish ksh sh tcsh zsh");

/// Interpreters, by patterns of their names.
pub const INTERPRETERS: NameList = NameList(
    "awk bun deno gawk gdb irb java jshell lua* mawk node* perl* php* python* ruby* tclsh*
     Rscript",
);

/// Programs whose arguments are another command line.
pub const LAUNCHERS: NameList = NameList(
    "chroot doas env flock ionice ld-linux* ld.so nice nohup npx nsenter parallel runuser script
     setsid stdbuf su sudo taskset timeout unshare xargs",
);

/// Programs with options that execute other programs or write files (hazards A1), with an example each.
pub const SENSITIVE: [(&str, &str); 18] = [
    ("awk", "system()"),
    ("cargo", "--config"),
    ("ed", "!"),
    ("find", "-exec"),
    ("gdb", "-ex"),
    ("git", "-c core.pager=, --output"),
    ("go", "-exec, -toolexec"),
    ("less", "!"),
    ("make", "--eval"),
    ("man", "-P"),
    ("npm", "run"),
    ("rsync", "-e"),
    ("sed", "the e and w commands"),
    ("ssh", "-o ProxyCommand"),
    ("tar", "--to-command, --checkpoint-action"),
    ("vi", ":!"),
    ("vim", ":!"),
    ("zip", "-TT"),
];

/// Host trees of which no part should be granted, with their content.
const DANGEROUS: [(&str, &str); 16] = [
    ("/boot", "the kernel"),
    ("/dev", "the host's devices"),
    ("/etc/shadow", "password hashes"),
    ("/etc/ssh", "the host's keys"),
    ("/etc/ssl/private", "the host's keys"),
    ("/etc/sudoers", "users who may become root"),
    ("/etc/sudoers.d", "users who may become root"),
    ("/proc", "the host's processes"),
    ("/run", "the host's sockets"),
    ("/sys", "the host's kernel"),
    ("/var/lib/docker", "the containers' files"),
    ("/var/lib/containerd", "the containers' files"),
    ("/var/lib/kubelet", "the pods' secrets"),
    ("/var/log", "the host's logs"),
    ("/var/run", "the host's sockets"),
    ("/var/spool/cron", "code that the host executes"),
];

/// Trees that are too wide to grant whole, although a part of one may be granted.
const WIDE: [&str; 7] = ["/", "/etc", "/home", "/mnt", "/root", "/srv", "/var"];

/// Names in a home that hold credentials, sessions or code that the host executes.
const IN_HOME: [(&str, &str); 40] = [
    (".Xauthority", "the display's key"),
    (".aws", "cloud credentials"),
    (".azure", "cloud credentials"),
    (
        ".bash_history",
        "typed commands, which may contain passwords",
    ),
    (".bash_profile", "code that the host executes"),
    (".bashrc", "code that the host executes"),
    (".cargo/credentials", "registry tokens"),
    (".cargo/credentials.toml", "registry tokens"),
    (".claude", "an agent's credentials and settings"),
    (".codex", "an agent's credentials and settings"),
    (".config/autostart", "code that the host executes"),
    (".config/BraveSoftware", "a browser's profile"),
    (".config/chromium", "a browser's profile"),
    (".config/gcloud", "cloud credentials"),
    (".config/gh", "tokens"),
    (".config/git", "code that the host executes"),
    (".config/google-chrome", "a browser's profile"),
    (".config/systemd", "code that the host executes"),
    (".docker", "registry credentials"),
    (".gem/credentials", "registry tokens"),
    (".git-credentials", "passwords"),
    (".gitconfig", "code that the host executes"),
    (".gnupg", "private keys"),
    (".kube", "cluster credentials"),
    (".local/share/keyrings", "passwords"),
    (".mozilla", "a browser's profile"),
    (".my.cnf", "passwords"),
    (".netrc", "passwords"),
    (".npmrc", "registry tokens"),
    (".oci", "cloud credentials"),
    (".openclaw", "an agent's credentials and settings"),
    (".password-store", "passwords"),
    (".pgpass", "passwords"),
    (".profile", "code that the host executes"),
    (".pypirc", "registry tokens"),
    (".ssh", "private keys"),
    (".terraform.d", "cloud credentials"),
    (".vault-token", "a token"),
    (
        ".zsh_history",
        "typed commands, which may contain passwords",
    ),
    (".zshrc", "code that the host executes"),
];

/// Names of sockets that control the host, in any directory.
const SOCKETS: [&str; 5] = [
    "containerd.sock",
    "crio.sock",
    "docker.sock",
    "podman.sock",
    "system_bus_socket",
];

/// Why a tree should not be granted; `None` if it may be.
pub fn danger(path: &str, home: &str) -> Option<&'static str> {
    use creel_policy::path_set::within;
    let name = path.rsplit('/').next().unwrap_or_default();
    if SOCKETS.contains(&name) {
        return Some("a socket that controls the host");
    }
    if WIDE.contains(&path) {
        return Some("much more than any program needs");
    }
    if let Some((_, what)) = DANGEROUS.iter().find(|(tree, _)| within(path, tree)) {
        return Some(what);
    }
    let inside = path.strip_prefix(home)?.strip_prefix('/')?;
    // A grant of the parent includes the secret.
    let near = |secret: &str| within(&format!("/{inside}"), &format!("/{secret}"));
    let holds = |secret: &str| within(&format!("/{secret}"), &format!("/{inside}"));
    let found = IN_HOME
        .iter()
        .find(|(secret, _)| near(secret) || holds(secret));
    found.map(|(_, what)| *what)
}

/// Whether a trust path is part of a project's own work: it runs when a user builds or tests the project,
/// not merely because the file exists.
pub fn is_project_work(path: &str) -> bool {
    const NAMES: NameList = NameList(
        ".cargo .gitattributes .gitmodules .npmrc .yarnrc.yml AGENTS.md CLAUDE.local.md CLAUDE.md
         GEMINI.md GNUmakefile Makefile build.rs conftest.py makefile package.json worktrees",
    );
    NAMES.contains(path.rsplit('/').next().unwrap_or_default())
}

/// Whether a variable's name suggests a credential, or access to one.
pub fn is_secret_variable(name: &str) -> bool {
    const WORDS: NameList = NameList(
        "*API_KEY* *APIKEY* *ACCESS_KEY* *AUTH_TOKEN* *CREDENTIAL* *PASSPHRASE* *PASSWD*
         *PASSWORD* *PRIVATE_KEY* *SECRET* *_TOKEN *_PAT",
    );
    const NAMES: NameList = NameList(
        "DATABASE_URL DBUS_SESSION_BUS_ADDRESS DOCKER_HOST GPG_AGENT_INFO KUBECONFIG PGPASS
         SSH_AUTH_SOCK TOKEN XAUTHORITY",
    );
    let name = name.to_ascii_uppercase();
    NAMES.contains(&name) || WORDS.meet(&name)
}

/// Whether a variable makes programs load or run code.
pub fn is_loader_variable(name: &str) -> bool {
    const NAMES: NameList = NameList(
        "BASH_ENV EDITOR ENV GCONV_PATH GIT_CONFIG_GLOBAL GIT_EXTERNAL_DIFF GIT_PAGER GIT_SSH
         GIT_SSH_COMMAND IFS JAVA_TOOL_OPTIONS LESSOPEN NODE_OPTIONS PERL5LIB PERL5OPT
         PROMPT_COMMAND PYTHONHOME PYTHONPATH PYTHONSTARTUP RUBYOPT RUSTC_WRAPPER",
    );
    name.starts_with("LD_") || name.starts_with("DYLD_") || NAMES.contains(name)
}

/// Whether a file's name suggests a credential.
pub fn is_secret_file(name: &str) -> bool {
    const NAMES: NameList = NameList(
        ".dockercfg .env .env.* .git-credentials .htpasswd .my.cnf .netrc .npmrc .pgpass .pypirc
         .vault-token *.jks *.kdbx *.key *.p12 *.pem *.pfx credentials credentials.json id_dsa
         id_ecdsa id_ed25519 id_rsa secrets.* service-account*.json terraform.tfstate",
    );
    const EXAMPLES: NameList = NameList("*.example *.sample *.template *.dist");
    NAMES.meet(name) && !EXAMPLES.meet(name)
}
