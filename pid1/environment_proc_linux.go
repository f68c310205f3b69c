package pid1

import (
	"bytes"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
)

// The formats are those of proc(5): proc_pid_status(5), proc_pid_stat(5),
// proc_pid_cmdline(5), proc_pid_mountinfo(5) and cgroups(7).

// A sigset has bit n−1 set for signal n.
type sigset uint64

func (s sigset) has(sig syscall.Signal) bool { return s&(1<<(sig-1)) != 0 }

func (s sigset) list() (signals []os.Signal) {
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		if s.has(sig) && !cLibrary(sig) {
			signals = append(signals, sig)
		}
	}
	return signals
}

type procStatus struct {
	name                     string // at most 15 bytes
	blocked, ignored, caught sigset
	masks                    bool // the three were there
}

func parseStatus(text []byte) (s procStatus) {
	found := 0
	mask := func(value string) sigset {
		n, err := strconv.ParseUint(value, 16, 64)
		if err == nil {
			found++
		}
		return sigset(n)
	}
	for line := range bytes.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), ":\t")
		switch key {
		case "Name":
			s.name = value
		case "SigBlk":
			s.blocked = mask(value)
		case "SigIgn":
			s.ignored = mask(value)
		case "SigCgt":
			s.caught = mask(value)
		}
	}
	s.masks = found == 3
	return s
}

type procStat struct {
	pid, parent, threads int
	name                 string
	state                byte
}

// parseStat takes the name up to the last parenthesis: it may hold any byte.
func parseStat(text []byte) (s procStat, ok bool) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return procStat{}, false
	}
	fields := strings.Fields(string(text[end+1:])) // from the third, the state
	if len(fields) < 18 || len(fields[0]) != 1 {
		return procStat{}, false
	}
	pid, err1 := strconv.Atoi(strings.TrimSpace(string(text[:open])))
	parent, err2 := strconv.Atoi(fields[1])
	threads, err3 := strconv.Atoi(fields[17])
	if err1 != nil || err2 != nil || err3 != nil {
		return procStat{}, false
	}
	return procStat{pid: pid, parent: parent, threads: threads, name: string(text[open+1 : end]), state: fields[0][0]}, true
}

// parseCmdline also takes what a program has overwritten with its title, which
// need not end in a NUL.
func parseCmdline(text []byte) []string {
	text = bytes.TrimSuffix(text, []byte{0})
	if len(text) == 0 {
		return nil
	}
	return strings.Split(string(text), "\x00")
}

// initName completes the kernel's name of a process, cut to 15 bytes, from its
// command line: the program, or the script that a #! line gave to it.
func initName(name string, args []string) string {
	if len(name) < 15 {
		return name
	}
	for _, arg := range args[:min(len(args), 2)] {
		if base := path.Base(arg); strings.HasPrefix(base, name) {
			return base
		}
	}
	return name
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
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace
