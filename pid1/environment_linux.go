package pid1

import (
	"bytes"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

// readInit reads what /proc tells of this process's signals and of PID 1.
func (e *Environment) readInit() {
	self := parseStatus(read("/proc/self/status"))
	if !self.masks { // gVisor leaves them out
		e.unknown("ignored and blocked signals")
	}
	e.Ignored, e.Blocked = self.ignored.list(), self.blocked.list()

	if !e.procIsOurs() {
		e.unknown("PID 1 (no /proc of this PID namespace is mounted)")
		return
	}
	init := parseStatus(read("/proc/1/status"))
	e.InitArgs = parseCmdline(read("/proc/1/cmdline"))
	e.InitName = initName(init.name, e.InitArgs)
	if init.name == "" {
		e.unknown("PID 1")
	}

	// A shell that traps SIGTERM is taken to pass it on. Of other programs the
	// mask says nothing: tini and dumb-init wait for signals with neither a
	// handler nor, while they wait, a blocked signal to be seen in /proc.
	if e.Parent == 1 && !init.caught.has(syscall.SIGTERM) {
		text, script := shellRuns(e.InitArgs)
		e.ShellForm, e.ShellScript = text != "", script != ""
	}
}

// procIsOurs is false where /proc shows another PID namespace, as after
// unshare --pid without --mount-proc, or nothing.
func (e *Environment) procIsOurs() bool {
	self, err := os.Readlink("/proc/self")
	return err == nil && self == strconv.Itoa(e.PID)
}

// inspectRest is what Inspect adds to readInit.
func (e *Environment) inspectRest() {
	e.Subreaper = e.isSubreaper()
	e.GVisor = isGVisor()
	if e.procIsOurs() {
		e.Zombies = countZombies(readStats(), e.PID)
	} else {
		e.unknown("zombies (no /proc of this PID namespace is mounted)")
	}

	mountinfo, cgroup := read("/proc/self/mountinfo"), read("/proc/self/cgroup")
	mounts := parseMountinfo(mountinfo)
	e.Runtime = containerRuntime(traces{
		mounts:       mounts,
		cgroup:       string(cgroup),
		dockerenv:    exists("/.dockerenv"),
		containerenv: exists("/run/.containerenv"),
		engine:       string(read("/run/.containerenv")),
		container:    os.Getenv("container"),
	})
	dirs := pidsDirs(mounts, parseCgroup(cgroup))
	if len(dirs) == 0 {
		e.unknown("pids.max (no pids cgroup is mounted)")
	}
	e.PidsMax = pidsMax(dirs)
}

func (e *Environment) isSubreaper() bool {
	const getChildSubreaper = 37 // PR_GET_CHILD_SUBREAPER, Linux 3.4
	var on int32
	_, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, getChildSubreaper, uintptr(unsafe.Pointer(&on)), 0)
	if errno != 0 {
		e.unknown("subreaper")
	}
	return on != 0
}

// isGVisor knows the kernel by its version, which is the same in every release
// of gVisor; the newer ones also have the name in the release.
func isGVisor() bool {
	var u syscall.Utsname
	if syscall.Uname(&u) != nil {
		return false
	}
	var version, release []byte
	for i := range u.Version {
		version, release = append(version, byte(u.Version[i])), append(release, byte(u.Release[i]))
	}
	return bytes.HasPrefix(version, []byte("#1 SMP Sun Jan 10 15:06:54 PST 2016\x00")) ||
		bytes.Contains(release, []byte("gvisor"))
}

// readStats reads /proc/*/stat. Processes that end meanwhile are left out.
func readStats() (all []procStat) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if _, err := strconv.Atoi(name); err != nil {
			continue
		}
		if stat, ok := parseStat(read("/proc/" + name + "/stat")); ok {
			all = append(all, stat)
		}
	}
	return all
}

// countZombies groups the zombies by parent. A process whose main thread has
// ended while others run looks like one, and is not.
func countZombies(stats []procStat, self int) []Zombies {
	names, count := map[int]string{}, map[int]int{}
	for _, s := range stats {
		names[s.pid] = s.name
		if s.state == 'Z' && s.threads <= 1 {
			count[s.parent]++
		}
	}
	var list []Zombies
	for _, parent := range slices.Sorted(maps.Keys(count)) {
		list = append(list, Zombies{Parent: parent, Name: names[parent], Count: count[parent], Ours: parent == self})
	}
	return list
}

// traces are what container runtimes leave in a container.
type traces struct {
	mounts                  []mount
	cgroup                  string // /proc/self/cgroup
	dockerenv, containerenv bool   // /.dockerenv, /run/.containerenv
	engine                  string // the text in /run/.containerenv
	container               string // $container
}

// containerRuntime weighs the traces, the hardest to inherit or to bake into an
// image first.
func containerRuntime(t traces) string {
	// podman sets container=podman and names itself in .containerenv when run
	// with --privileged (podman-run(1)); CRI-O's is empty.
	switch {
	case t.containerenv && strings.Contains(t.engine, "buildah"):
		return "buildah"
	case t.containerenv && (t.container == "podman" || strings.Contains(t.engine, "podman")):
		return "podman"
	case t.containerenv:
		return "cri-o"
	}

	// Files such as /etc/hostname are bind mounts from the runtime's directory.
	for _, m := range t.mounts {
		if name := runtimeIn(m.root + " " + m.options); name != "" {
			return name
		}
	}
	if name := runtimeIn(t.cgroup); name != "" {
		return name
	}
	if t.dockerenv {
		return "docker"
	}
	return t.container // systemd's container interface; also set by some base images
}

// runtimeIn looks for a runtime's mark in paths of mounts or cgroups.
func runtimeIn(paths string) string {
	for _, mark := range []struct{ path, name string }{
		{"/docker/containers/", "docker"},
		{"/docker/overlay2/", "docker"},
		{"io.containerd.", "containerd"},
		{"cri-containerd", "containerd"},
		{"crio-", "cri-o"},
		{"libpod-", "podman"},
		{"/docker/", "docker"},
		{"docker-", "docker"},
		{"/lxc/", "lxc"},
		{"/lxc.payload", "lxc"},
	} {
		if strings.Contains(paths, mark.path) {
			return mark.name
		}
	}
	return ""
}

// pidsDirs lists the cgroup directories that may limit this process, up to the
// root of what is mounted here.
func pidsDirs(mounts []mount, cgroups map[string]string) (dirs []string) {
	for _, m := range mounts {
		controller := "" // of the one hierarchy of version 2
		switch {
		case m.fstype == "cgroup" && slices.Contains(strings.Split(m.options, ","), "pids"):
			controller = "pids"
		case m.fstype != "cgroup2":
			continue
		}
		group, ok := cgroups[controller]
		if !ok {
			continue
		}

		// A container sees its own group as the root of the mount, while the
		// name in /proc may still count from the host's root.
		below, ok := strings.CutPrefix(group, strings.TrimSuffix(m.root, "/"))
		if !ok || below != "" && below[0] != '/' {
			below = ""
		}
		point := path.Clean(m.point)
		for dir := path.Join(point, path.Clean("/"+below)); dir != point; dir = path.Dir(dir) {
			dirs = append(dirs, dir)
		}
		dirs = append(dirs, point)
	}
	return dirs
}

// pidsMax is the lowest limit in dirs, 0 if there is none.
func pidsMax(dirs []string) (lowest int64) {
	for _, dir := range dirs {
		limit, err := strconv.ParseInt(string(bytes.TrimSpace(read(dir+"/pids.max"))), 10, 64)
		if err == nil && (lowest == 0 || limit < lowest) { // "max" is an error here
			lowest = limit
		}
	}
	return lowest
}

// read is the text of a file, nil if it cannot be read.
func read(name string) []byte {
	text, _ := os.ReadFile(name)
	return text
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}
