// SPDX-License-Identifier: MIT

package inspect

import (
	"maps"
	"os"
	"slices"
	"syscall"

	"github.com/entrypoint-go/entrypoint/internal/linux"
)

// readInit reads what /proc says about PID 1.
func (f *Facts) readInit() {
	if linux.CheckProc() != nil {
		f.unknown("PID 1 (no /proc of this PID namespace is mounted)")
		return
	}
	init := parseStatus(read("/proc/1/status"))
	f.InitArgs = parseCmdline(read("/proc/1/cmdline"))
	f.InitName = initName(init.name, f.InitArgs)
	if init.name == "" {
		f.unknown("PID 1")
	}

	// A shell that traps SIGTERM is taken to pass it on. Of other programs the
	// mask says nothing: tini and dumb-init wait for signals with neither a
	// handler nor, while they wait, a blocked signal to be seen in /proc.
	if f.Parent == 1 && !init.caught.Has(syscall.SIGTERM) {
		text, script := ShellRuns(f.InitArgs)
		f.ShellForm, f.ShellScript = text != "", script != ""
	}
}

// readRest reads what All adds to Init.
func (f *Facts) readRest() {
	self := parseStatus(read("/proc/self/status"))
	if !self.masks { // gVisor leaves them out
		f.unknown("ignored and blocked signals")
	}
	f.Ignored, f.Blocked = self.ignored, self.blocked

	subreaper, err := linux.IsSubreaper()
	if f.Subreaper = subreaper; err != nil {
		f.unknown("subreaper")
	}
	f.GVisor = isGVisor()
	if linux.CheckProc() == nil {
		f.Zombies = countZombies(linux.Processes())
	} else {
		f.unknown("zombies (no /proc of this PID namespace is mounted)")
	}

	mountinfo, cgroup := read("/proc/self/mountinfo"), read("/proc/self/cgroup")
	mounts := parseMountinfo(mountinfo)
	f.Runtime = containerRuntime(traces{
		mounts:       mounts,
		cgroup:       string(cgroup),
		dockerenv:    exists("/.dockerenv"),
		containerenv: exists("/run/.containerenv"),
		engine:       string(read("/run/.containerenv")),
		container:    os.Getenv("container"),
	})
	dirs := pidsDirs(mounts, parseCgroup(cgroup))
	if len(dirs) == 0 {
		f.unknown("pids.max (no pids cgroup is mounted)")
	}
	f.PidsMax = pidsMax(dirs)
}

// countZombies groups the zombies by parent. A process whose main thread has
// ended while others run looks like one, and is not.
func countZombies(all []linux.Process) (list []Zombies) {
	names, count := map[int]string{}, map[int]int{}
	for _, p := range all {
		names[p.PID] = p.Name
		if p.State == 'Z' && p.Dead() {
			count[p.Parent]++
		}
	}
	for _, parent := range slices.Sorted(maps.Keys(count)) {
		list = append(list, Zombies{Parent: parent, Name: names[parent], Count: count[parent]})
	}
	return list
}

func mountedNoexec(path string) bool {
	const stNoexec = 0x8 // ST_NOEXEC of statfs(2)
	var fs syscall.Statfs_t
	return syscall.Statfs(path, &fs) == nil && fs.Flags&stNoexec != 0
}

// read returns the text of a file, nil if it cannot be read.
func read(name string) []byte {
	text, _ := os.ReadFile(name)
	return text
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}
