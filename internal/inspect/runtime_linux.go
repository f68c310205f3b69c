// SPDX-License-Identifier: MIT

package inspect

import (
	"bytes"
	"strings"
	"syscall"
)

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

// isGVisor recognises the kernel by its version, which is the same in every
// release of gVisor; newer ones also have the name in the release.
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
