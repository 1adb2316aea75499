// Run by OpenCode in its own process, before any session exists: see seal.rs. `sandboxes` is set above.
import fs from "node:fs"

// 1. The password leaves the environment that commands inherit, and the one that /proc shows. OpenCode has read it by
//    now; its own code still finds it under its name.
const name = "OPENCODE_SERVER_PASSWORD"
const password = process.env[name]
if (password !== undefined) {
  delete process.env[name]
  Object.defineProperty(process.env, name, { value: password, enumerable: false, configurable: true, writable: true })
}
try {
  const stat = fs.readFileSync("/proc/self/stat", "latin1")
  // What follows the program's name, which may hold anything; proc(5) numbers env_start 50 and env_end 51.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  const [start, end] = [Number(fields[47]), Number(fields[48])]
  const memory = fs.openSync("/proc/self/mem", "r+")
  const block = Buffer.alloc(end - start)
  fs.readSync(memory, block, 0, block.length, start)
  const variable = Buffer.from(`\0${name}=`)
  const before = Buffer.concat([Buffer.from("\0"), block])
  for (let at = before.indexOf(variable); at >= 0; at = before.indexOf(variable, at + 1)) {
    const value = at + variable.length - 1
    const length = block.indexOf(0, value) - value
    if (length > 0) fs.writeSync(memory, Buffer.alloc(length), 0, length, start + value)
  }
  fs.closeSync(memory)
} catch {
  // Not Linux, or not allowed: whoever started this looks whether it held.
}

// 2. Other programs of this user do not read this process's memory: prctl(PR_SET_DUMPABLE, 0).
try {
  const { dlopen } = await import("bun:ffi")
  const types = { args: ["int", "u64", "u64", "u64", "u64"], returns: "int" }
  dlopen("libc.so.6", { prctl: types }).symbols.prctl(4, 0, 0, 0, 0)
} catch {
  // Another C library: the environment shows no password all the same.
}

// 3. What lies in a sandbox is not run as a part of the server, whatever asks for it: 1.18.33 imports the files in
//    .opencode/plugin of a session's folder, with OPENCODE_DISABLE_PROJECT_CONFIG too.
const quote = (text) => text.replace(/[^A-Za-z0-9]/g, "\\$&")
const url = new URL(`file://${sandboxes.split("/").map(encodeURIComponent).join("/")}`).href
const below = new RegExp(`^(?:(?:file://)?${quote(sandboxes)}|${quote(url)})/`)
Bun.plugin({
  name: "sandboxes",
  setup(build) {
    const nothing = { contents: "export default undefined", loader: "js" }
    build.onResolve({ filter: below }, () => ({ path: "nothing", namespace: "sandbox" }))
    build.onLoad({ filter: /.*/, namespace: "sandbox" }, () => nothing)
    build.onLoad({ filter: below }, () => nothing)
  },
})

export default { id: "opencode-chat-seal", setup() {} }
