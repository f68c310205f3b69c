// SPDX-License-Identifier: MIT

// Package entrypoint lets a Go server run as a container's ENTRYPOINT: PID 1 in a
// FROM scratch image, with no tini, no shell and no second process.
//
// This root package holds no code; these do:
//
//   - [github.com/entrypoint-go/entrypoint/pid1] runs servers as the main job
//     of the process: signals, readiness, drain, exit code. Start here.
//   - [github.com/entrypoint-go/entrypoint/shutdown] runs stop hooks, last in
//     first out, all inside one deadline. Useful in any program.
//   - [github.com/entrypoint-go/entrypoint/reaper] collects dead orphans and
//     never a child that somebody else waits for. Useful in any PID 1.
//
// Data flows one way:
//
//	signal ──▶ pid1 ──▶ shutdown ──▶ *Report ──▶ exit code ──▶ main's os.Exit
//	SIGCHLD ─▶ reaper ─▶ Stats, OnReap            (a child's exit never starts a shutdown)
package entrypoint
