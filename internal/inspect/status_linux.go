// SPDX-License-Identifier: MIT

package inspect

import (
	"bytes"
	"path"
	"strconv"
	"strings"

	"github.com/entrypoint-go/entrypoint/internal/sig"
)

// The formats are those of proc_pid_status(5) and proc_pid_cmdline(5).

type procStatus struct {
	name                     string // at most 15 bytes
	blocked, ignored, caught sig.Set
	masks                    bool // the three were there
}

func parseStatus(text []byte) (s procStatus) {
	found := 0
	mask := func(value string) sig.Set {
		n, err := strconv.ParseUint(value, 16, 64)
		if err == nil {
			found++
		}
		return sig.Set(n)
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
