// SPDX-License-Identifier: MIT

package inspect

import (
	"bytes"
	"path"
	"slices"
	"strconv"
	"strings"
)

// The formats are those of cgroups(7) and proc_pid_mountinfo(5).

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

// pidsMax returns the lowest limit in dirs, 0 if there is none.
func pidsMax(dirs []string) (lowest int64) {
	for _, dir := range dirs {
		limit, err := strconv.ParseInt(string(bytes.TrimSpace(read(dir+"/pids.max"))), 10, 64)
		if err == nil && (lowest == 0 || limit < lowest) { // "max" is an error here
			lowest = limit
		}
	}
	return lowest
}

// parseCgroup maps each controller to the group's path; "" is version 2.
func parseCgroup(text []byte) map[string]string {
	groups := map[string]string{}
	for line := range bytes.Lines(text) {
		fields := strings.SplitN(strings.TrimSuffix(string(line), "\n"), ":", 3)
		if len(fields) != 3 {
			continue
		}
		for controller := range strings.SplitSeq(fields[1], ",") {
			groups[controller] = fields[2]
		}
	}
	return groups
}

type mount struct {
	root    string // the directory of the file system that is mounted
	point   string // where
	fstype  string
	options string // of the file system
}

func parseMountinfo(text []byte) (mounts []mount) {
	for line := range bytes.Lines(text) {
		left, right, ok := strings.Cut(string(line), " - ") // optional fields end
		before, after := strings.Fields(left), strings.Fields(right)
		if !ok || len(before) < 6 || len(after) < 1 {
			continue
		}
		m := mount{root: unescape(before[3]), point: unescape(before[4]), fstype: after[0]}
		if len(after) >= 3 {
			m.options = after[2]
		}
		mounts = append(mounts, m)
	}
	return mounts
}

// unescape undoes the kernel's octal escapes of space, tab, newline and \.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
