// SPDX-License-Identifier: MIT

package inspect

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/entrypoint-go/entrypoint/internal/linux"
)

func TestParseStatus(t *testing.T) {
	tests := []struct {
		text string
		want procStatus
	}{
		{"", procStatus{}},
		{"garbage\nName\nSigBlk:\tx\n", procStatus{}},
		{"Name:\tsh\nState:\tS (sleeping)\n", procStatus{name: "sh"}}, // gVisor
		{
			"Name:\ta: b\nUmask:\t0022\nSigPnd:\t0000000000000000\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000000006\nSigCgt:\t8000000180004a02\n",
			procStatus{name: "a: b", blocked: 1, ignored: 6, caught: 0x8000000180004a02, masks: true},
		},
	}
	for _, tt := range tests {
		if got := parseStatus([]byte(tt.text)); got != tt.want {
			t.Errorf("%q: got %+v, want %+v", tt.text, got, tt.want)
		}
	}
}

func TestParseCmdline(t *testing.T) {
	tests := []struct {
		text string
		want []string
	}{
		{"", nil},
		{"\x00", nil},
		{"/app\x00", []string{"/app"}},
		{"/app\x00-v\x00\x00", []string{"/app", "-v", ""}},
		{"nginx: master process", []string{"nginx: master process"}},
	}
	for _, tt := range tests {
		if got := parseCmdline([]byte(tt.text)); !slices.Equal(got, tt.want) {
			t.Errorf("%q: got %q, want %q", tt.text, got, tt.want)
		}
	}
	if got := parseCmdline(read("/proc/self/cmdline")); !slices.Equal(got, os.Args) {
		t.Errorf("this process: got %q, want %q", got, os.Args)
	}
}

func TestInitName(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"", nil, ""},
		{"tini", []string{"/usr/bin/tini-static", "--"}, "tini"},
		{"exactly15bytes_", []string{"/bin/exactly15bytes_"}, "exactly15bytes_"},
		{"docker-entrypoi", []string{"/bin/sh", "/docker-entrypoint.sh", "docker-entrypoints"}, "docker-entrypoint.sh"},
		{"a-very-long-nam", []string{"/a-very-long-name"}, "a-very-long-name"},
		{"a-very-long-nam", []string{"renamed"}, "a-very-long-nam"},
		{"a-very-long-nam", nil, "a-very-long-nam"},
	}
	for _, tt := range tests {
		if got := initName(tt.name, tt.args); got != tt.want {
			t.Errorf("%q, %q: got %q, want %q", tt.name, tt.args, got, tt.want)
		}
	}
}

func TestParseCgroup(t *testing.T) {
	text := "12:cpu,cpuacct:/a\n3:pids:/docker/x:y\n1:name=systemd:/init\nbad\n0::/user.slice\n"
	want := map[string]string{"cpu": "/a", "cpuacct": "/a", "pids": "/docker/x:y", "name=systemd": "/init", "": "/user.slice"}
	if got := parseCgroup([]byte(text)); !maps.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestParseMountinfo(t *testing.T) {
	text := `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue
29 23 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate
40 35 0:5 /a\040b /c\011d\134e rw - tmpfs none rw
41 35 0:5 / /none rw - tmpfs
short - line
`
	want := []mount{
		{"/mnt1", "/mnt2", "ext3", "rw,errors=continue"},
		{"/", "/sys/fs/cgroup", "cgroup2", "rw,nsdelegate"},
		{"/a b", "/c\td\\e", "tmpfs", "rw"},
		{"/", "/none", "tmpfs", ""},
	}
	if got := parseMountinfo([]byte(text)); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCountZombies(t *testing.T) {
	process := func(pid, parent, threads int, name string, state byte) linux.Process {
		return linux.Process{PID: pid, Parent: parent, Threads: threads, Name: name, State: state}
	}
	all := []linux.Process{
		process(9, 7, 1, "true", 'Z'),
		process(1, 0, 1, "app", 'S'),
		process(7, 1, 1, "make", 'S'),
		process(10, 7, 1, "cc", 'Z'),
		process(11, 7, 1, "ld", 'R'),
		process(12, 1, 1, "x", 'Z'),
		process(13, 7, 3, "threads", 'Z'), // its main thread has ended, others run
		process(14, 99, 1, "y", 'Z'),      // its parent ended meanwhile
	}
	want := []Zombies{{1, "app", 1}, {7, "make", 2}, {99, "", 1}}
	if got := countZombies(all); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := countZombies(nil); got != nil {
		t.Errorf("got %+v, want none", got)
	}
}

func TestContainerRuntime(t *testing.T) {
	from := func(roots ...string) (mounts []mount) {
		for _, root := range roots {
			mounts = append(mounts, mount{root: root, point: "/etc/hostname", fstype: "ext4"})
		}
		return mounts
	}
	overlay := func(lower string) []mount {
		return []mount{{"/", "/", "overlay", "rw,lowerdir=" + lower}}
	}
	const id = "0123456789abcdef"
	tests := []struct {
		name   string
		traces traces
		want   string
	}{
		{"none", traces{mounts: from("/", "/home/x")}, ""},
		{"docker, version 2", traces{mounts: from("/", "/var/lib/docker/containers/"+id+"/hostname"), cgroup: "0::/\n", dockerenv: true}, "docker"},
		{"docker, elsewhere", traces{mounts: from("/srv/docker/containers/" + id + "/hosts")}, "docker"},
		{"docker, version 1", traces{cgroup: "3:pids:/docker/" + id + "\n"}, "docker"},
		{"docker, systemd", traces{cgroup: "0::/system.slice/docker-" + id + ".scope\n"}, "docker"},
		{"docker, scratch, no network", traces{dockerenv: true}, "docker"},
		{"docker, overlay", traces{mounts: overlay("/var/lib/docker/overlay2/l/ABC")}, "docker"},
		{"containerd", traces{mounts: overlay("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs")}, "containerd"},
		{"containerd, CRI", traces{mounts: from("/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/" + id + "/hostname")}, "containerd"},
		{"containerd, cgroup", traces{cgroup: "0::/kubepods.slice/cri-containerd-" + id + ".scope\n"}, "containerd"},
		{"podman", traces{containerenv: true, container: "podman"}, "podman"},
		{"podman --privileged", traces{containerenv: true, engine: "engine=\"podman-4.3.1\"\n"}, "podman"},
		{"podman, cgroup", traces{cgroup: "0::/machine.slice/libpod-" + id + ".scope/container\n"}, "podman"},
		{"podman in docker", traces{containerenv: true, container: "podman", dockerenv: true, mounts: from("/var/lib/docker/containers/x")}, "podman"},
		{"buildah", traces{containerenv: true, engine: "engine=\"buildah-1.28\"\n"}, "buildah"},
		{"cri-o", traces{containerenv: true}, "cri-o"},
		{"cri-o, cgroup", traces{cgroup: "0::/kubepods.slice/crio-" + id + ".scope\n"}, "cri-o"},
		{"lxc", traces{cgroup: "1:name=systemd:/lxc.payload.web/init.scope\n", container: "lxc"}, "lxc"},
		{"nspawn", traces{container: "systemd-nspawn"}, "systemd-nspawn"},
		{"docker, image that sets container", traces{dockerenv: true, container: "oci"}, "docker"},
	}
	for _, tt := range tests {
		if got := containerRuntime(tt.traces); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestPidsDirs(t *testing.T) {
	v1 := mount{"/", "/sys/fs/cgroup/pids", "cgroup", "rw,pids"}
	v2 := mount{"/", "/sys/fs/cgroup", "cgroup2", "rw"}
	inside := v1
	inside.root = "/docker/x"
	tests := []struct {
		name    string
		mounts  []mount
		cgroups map[string]string
		want    []string
	}{
		{"none", nil, map[string]string{"": "/"}, nil},
		{"not in it", []mount{v1}, map[string]string{"cpu": "/"}, nil},
		{"other controller", []mount{{"/", "/sys/fs/cgroup/cpu", "cgroup", "rw,cpu"}}, map[string]string{"pids": "/"}, nil},
		{"version 2, host", []mount{v2}, map[string]string{"": "/a.slice/b.service"},
			[]string{"/sys/fs/cgroup/a.slice/b.service", "/sys/fs/cgroup/a.slice", "/sys/fs/cgroup"}},
		{"version 2, namespace", []mount{v2}, map[string]string{"": "/"}, []string{"/sys/fs/cgroup"}},
		{"version 2, outside of the namespace", []mount{v2}, map[string]string{"": "/../b"}, []string{"/sys/fs/cgroup/b", "/sys/fs/cgroup"}},
		{"version 1, host", []mount{v1}, map[string]string{"pids": "/docker/x"},
			[]string{"/sys/fs/cgroup/pids/docker/x", "/sys/fs/cgroup/pids/docker", "/sys/fs/cgroup/pids"}},
		{"version 1, container", []mount{inside}, map[string]string{"pids": "/docker/x"}, []string{"/sys/fs/cgroup/pids"}},
		{"version 1, group in a container", []mount{inside}, map[string]string{"pids": "/docker/x/y"},
			[]string{"/sys/fs/cgroup/pids/y", "/sys/fs/cgroup/pids"}},
		{"version 1, not below", []mount{inside}, map[string]string{"pids": "/docker/xy"}, []string{"/sys/fs/cgroup/pids"}},
		{"at the root directory", []mount{{"/", "/", "cgroup2", "rw"}}, map[string]string{"": "/a"}, []string{"/a", "/"}},
	}
	for _, tt := range tests {
		if got := pidsDirs(tt.mounts, tt.cgroups); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestPidsMax(t *testing.T) {
	dir := t.TempDir()
	group := func(name, limit string) string {
		path := filepath.Join(dir, name)
		os.Mkdir(path, 0o755)
		if err := os.WriteFile(filepath.Join(path, "pids.max"), []byte(limit), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	none, low, high := group("none", "max\n"), group("low", "10\n"), group("high", "20\n")
	tests := []struct {
		dirs []string
		want int64
	}{
		{nil, 0},
		{[]string{dir}, 0}, // no such file: the root group
		{[]string{none}, 0},
		{[]string{none, low, high}, 10},
		{[]string{high, low, none, dir}, 10},
	}
	for _, tt := range tests {
		if got := pidsMax(tt.dirs); got != tt.want {
			t.Errorf("%q: got %d, want %d", tt.dirs, got, tt.want)
		}
	}
}

func TestOrchestrator(t *testing.T) {
	tests := []struct {
		env  map[string]string
		want string
	}{
		{nil, ""},
		{map[string]string{"KUBERNETES_SERVICE_HOST": ""}, ""},
		{map[string]string{"KUBERNETES_SERVICE_HOST": "10.0.0.1", "K_REVISION": "knative", "INVOCATION_ID": "x"}, "kubernetes"},
		{map[string]string{"NOMAD_ALLOC_ID": "x"}, "nomad"},
		{map[string]string{"ECS_CONTAINER_METADATA_URI": "x"}, "ecs"},
		{map[string]string{"CLOUD_RUN_EXECUTION": "x"}, "cloud-run"},
		{map[string]string{"FLY_MACHINE_ID": "x"}, "fly"},
		{map[string]string{"NOTIFY_SOCKET": "@x"}, "systemd"},
	}
	for _, tt := range tests {
		got := orchestrator(func(name string) (string, bool) { value, ok := tt.env[name]; return value, ok })
		if got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.env, got, tt.want)
		}
	}
}

// FuzzProc gives any text to every parser of /proc.
func FuzzProc(f *testing.F) {
	for _, name := range []string{"status", "cmdline", "cgroup", "mountinfo"} {
		f.Add(read("/proc/self/" + name))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		parseStatus(text)
		args := parseCmdline(text)
		if name := initName("0123456789abcde", args); !strings.HasPrefix(name, "0123456789abcde") {
			t.Errorf("%q: %q", args, name)
		}

		// Whatever the kernel names, we look below the mount.
		mounts := parseMountinfo(text)
		for _, m := range mounts {
			groups := map[string]string{"": m.root, "pids": m.point}
			for _, dir := range pidsDirs([]mount{m}, groups) {
				if point := filepath.Clean(m.point); dir != point && !strings.HasPrefix(dir, strings.TrimSuffix(point, "/")+"/") {
					t.Errorf("%+v: %q", m, dir)
				}
			}
		}
		containerRuntime(traces{mounts: mounts, cgroup: string(text)})
		parseCgroup(text)
	})
}
