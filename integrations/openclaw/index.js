// creel as a sandbox backend of OpenClaw: one session (a jail that stays) for each scope key.
//
// Paths in the jail are those of the host, so a path means the same to the agent, to its tools and to creel.

import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import path from "node:path";
import { definePluginEntry } from "openclaw/plugin-sdk/plugin-entry";
import { registerSandboxBackend } from "openclaw/plugin-sdk/sandbox";

const MOST = 256 << 20; // bytes of output that are kept

/** Runs creel; resolves with its streams and exit status, whatever the status is. */
function creel(config, args, { stdin, signal, cwd } = {}) {
  return new Promise((resolve, reject) => {
    const options = { encoding: "buffer", maxBuffer: MOST, signal, cwd };
    const child = execFile(config.command ?? "creel", args, options, (error, stdout, stderr) => {
      if (error && typeof error.code !== "number") reject(error);
      else resolve({ stdout, stderr, code: error?.code ?? 0 });
    });
    child.stdin.on("error", () => {}); // it may end before it has read all
    child.stdin.end(stdin ?? "");
  });
}

/** The same, where another status than 0 is an error with creel's own words. */
async function must(config, args, options) {
  const result = await creel(config, args, options);
  if (result.code === 0) return result;
  const text = result.stderr.toString("utf8").trim() || `creel exited with ${result.code}`;
  const missing = /No such file or directory/.test(text);
  throw Object.assign(new Error(text), missing ? { code: "ENOENT" } : {});
}

const nameOf = (scopeKey) => `openclaw-${createHash("sha256").update(scopeKey).digest("hex").slice(0, 32)}`;

/** The flags of `creel create` for a sandbox's configuration. What creel cannot hold is an error. */
function flagsOf(config, params) {
  const { cfg, workspaceDir, agentWorkspaceDir, scopeKey } = params;
  const docker = cfg.docker ?? {};
  if (docker.network && docker.network !== "none") throw new Error("creel: sandbox.docker.network is `none`; name hosts by `flags`: --allow-net HOST");
  const mode = cfg.workspaceAccess === "ro" ? "ro" : "rw";
  const flags = ["--workspace", `${workspaceDir}:${mode}`, "--label", `openclaw=${scopeKey}`];
  if (cfg.workspaceAccess !== "none" && agentWorkspaceDir && agentWorkspaceDir !== workspaceDir) {
    flags.push(cfg.workspaceAccess === "rw" ? "--write" : "--read", agentWorkspaceDir);
  }
  for (const mount of params.readOnlyResourceMounts ?? []) flags.push("--read", mount.hostPath ?? mount.source);
  for (const bind of docker.binds ?? []) flags.push("--volume", bind);
  if (docker.memory) flags.push("--memory", String(docker.memory).replace(/([kmg])b?$/i, (_, unit) => `${unit.toUpperCase()}iB`));
  if (docker.cpus) flags.push("--cpus", String(docker.cpus));
  if (docker.pidsLimit > 0) flags.push("--pids", String(docker.pidsLimit));
  for (const [name, value] of Object.entries(docker.env ?? {})) flags.push("--env", `${name}=${value}`);
  if (cfg.prune?.idleHours > 0) flags.push("--idle-timeout", `${cfg.prune.idleHours}h`);
  if (cfg.prune?.maxAgeDays > 0) flags.push("--max-age", `${cfg.prune.maxAgeDays * 24}h`);
  return [...flags, ...(config.flags ?? [])];
}

const labelOf = (flags) => createHash("sha256").update(JSON.stringify(flags)).digest("hex").slice(0, 12);

/** The files of a session, by `creel file`: no program in the jail is needed. */
function filesOf(config, name, root) {
  const at = ({ filePath, cwd }) => path.resolve(cwd ?? root, filePath.trim());
  const file = (act, args, options) => must(config, ["file", act, name, ...args], options);
  const kept = ["directory", "file"];
  return {
    resolvePath: (params) => {
      const full = at(params);
      return { hostPath: full, containerPath: full, relativePath: path.relative(root, full) };
    },
    readFile: async (params) => (await file("read", [at(params)], params)).stdout,
    writeFile: async (params) => {
      const full = at(params);
      if (params.mkdir !== false) await file("mkdir", ["--parents", path.dirname(full)], params);
      const data = Buffer.isBuffer(params.data) ? params.data : Buffer.from(params.data, params.encoding ?? "utf8");
      await file("write", [full], { ...params, stdin: data });
    },
    appendFile: async (params) => {
      await file("write", [at(params), "--append"], { ...params, stdin: params.data });
    },
    createFileExclusive: async (params) => {
      const full = at(params);
      if (params.mkdir !== false) await file("mkdir", ["--parents", path.dirname(full)], params);
      const done = await creel(config, ["file", "write", name, full, "--exclusive"], { ...params, stdin: params.data });
      if (done.code === 0) return "created";
      if (/File exists/.test(done.stderr.toString("utf8"))) return "exists";
      throw new Error(done.stderr.toString("utf8").trim());
    },
    mkdirp: async (params) => void (await file("mkdir", ["--parents", at(params)], params)),
    remove: async (params) => {
      const flags = [...(params.recursive ? ["--recursive"] : []), ...(params.force === false ? [] : ["--force"])];
      await file("remove", [at(params), ...flags], params);
    },
    rename: async (params) => {
      await file("rename", [at({ ...params, filePath: params.from }), at({ ...params, filePath: params.to })], params);
    },
    copyFile: async (params) => {
      const data = (await file("read", [at({ ...params, filePath: params.sourcePath })], params)).stdout;
      await file("write", [at({ ...params, filePath: params.destinationPath })], { ...params, stdin: data });
    },
    stat: async (params) => {
      const done = await creel(config, ["file", "stat", name, at(params), "--json"], params);
      if (done.code !== 0) return null;
      const said = JSON.parse(done.stdout.toString("utf8"));
      return { type: kept.includes(said.kind) ? said.kind : "other", size: said.size, mtimeMs: said.modified * 1000 };
    },
    readDirectory: async (params) => {
      const said = JSON.parse((await file("list", [at(params), "--json"], params)).stdout.toString("utf8"));
      return said.entries.map((entry) => ({ name: entry.name, isDirectory: entry.kind === "directory" }));
    },
  };
}

function backendOf(config) {
  return async (params) => {
    const name = nameOf(params.scopeKey);
    const flags = flagsOf(config, params);
    await must(config, ["create", "--quiet", "--replace", "--name", name, ...flags], { cwd: params.workspaceDir });
    const workdir = params.workspaceDir;
    const words = (env, dir) => [
      ...Object.entries(env ?? {}).flatMap(([key, value]) => ["--env", `${key}=${value}`]),
      ...(dir ? ["--workdir", dir] : []),
    ];
    const allowed = (env) => Object.fromEntries(Object.entries(env ?? {}).filter(([key]) => !key.startsWith("CREEL") && !["PATH", "HOME"].includes(key)));
    const command = config.command ?? "creel";
    return {
      id: "creel",
      runtimeId: name,
      runtimeLabel: name,
      workdir,
      env: params.cfg.docker?.env,
      configLabel: labelOf(flags),
      configLabelKind: "Flags",
      workdirRoots: [workdir],
      buildExecSpec: async ({ command: script, workdir: dir, env, usePty }) => ({
        argv: [command, "exec", usePty ? "--tty" : "--no-tty", ...words(allowed(env), dir), name, "--", "/bin/sh", "-c", script],
        env: process.env,
        stdinMode: "pipe-open",
      }),
      runShellCommand: async ({ script, args = [], stdin, allowFailure, signal }) => {
        const all = ["exec", "--no-tty", "--quiet", name, "--", "/bin/sh", "-c", script, "openclaw", ...args];
        return (allowFailure ? creel : must)(config, all, { stdin, signal });
      },
      createFsBridge: () => filesOf(config, name, workdir),
    };
  };
}

function managerOf(config) {
  return {
    describeRuntime: async ({ entry }) => {
      const done = await creel(config, ["inspect", entry.containerName]);
      const state = done.code === 0 ? JSON.parse(done.stdout.toString("utf8")).state : "none";
      return { running: state === "running" || state === "paused", actualConfigLabel: entry.image, configLabelMatch: true };
    },
    removeRuntime: async ({ entry }) => void (await must(config, ["rm", "--force", entry.containerName])),
  };
}

export default definePluginEntry({
  id: "creel",
  name: "creel",
  description: "Runs the tools of a conversation in a creel session.",
  register(api) {
    const config = api.pluginConfig ?? {};
    registerSandboxBackend("creel", {
      factory: backendOf(config),
      manager: managerOf(config),
      resolveWorkdir: ({ workspaceDir }) => workspaceDir,
    });
    const blocked = new Set(config.tools ?? []);
    api.on?.("before_tool_call", (event) =>
      blocked.has(event.toolName)
        ? { block: true, blockReason: `${event.toolName} runs outside of the sandbox, and creel's plugin blocks it (\`tools\` in its configuration)` }
        : undefined,
    );
  },
});
