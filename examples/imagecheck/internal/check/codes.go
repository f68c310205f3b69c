// SPDX-License-Identifier: MIT

package check

import (
	"encoding/json"
	"fmt"
)

// Severity is how bad a finding is.
type Severity int

const (
	Note    Severity = iota + 1 // worth knowing; never fails a check
	Warning                     // works, until somebody does something ordinary
	Error                       // does not start, or does not stop
)

// String returns note, warning or error.
func (s Severity) String() string {
	if s < Note || s > Error {
		return fmt.Sprintf("Severity(%d)", int(s))
	}
	return [...]string{"note", "warning", "error"}[s-Note]
}

// MarshalJSON writes the severity as a string.
func (s Severity) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// A Finding is one thing that is wrong.
type Finding struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	Reason   string   `json:"reason"`
	Fix      string   `json:"fix"` // what to write instead
}

// A Code is a kind of finding. Once published its name stays.
type Code struct {
	Name     string
	Severity Severity
	Meaning  string
}

// Codes are all kinds of findings. docs/imagecheck.md has the same table.
var Codes = []Code{
	{"shell-form-entrypoint", Error, "ENTRYPOINT is in shell form, and the shell keeps the stop signal"},
	{"shell-form-cmd", Error, "the same of CMD"},
	{"script-no-exec", Error, "a shell script starts the program without exec, and keeps the stop signal"},
	{"args-dropped", Warning, `the entrypoint ignores CMD and the arguments of docker run, for want of "$@"`},
	{"args-split", Warning, `arguments with spaces come apart: $@ without quotes, or $*`},
	{"cmd-only", Warning, "a service is started by CMD without ENTRYPOINT: arguments replace the program"},
	{"no-command", Warning, "neither ENTRYPOINT nor CMD"},
	{"program-missing", Error, "the program does not exist"},
	{"program-directory", Error, "the program is a directory"},
	{"program-not-executable", Error, "the user of the image may not execute the program"},
	{"program-format", Error, "the kernel does not know that kind of program"},
	{"program-path", Note, "the program is found only because the image sets PATH"},
	{"wrong-architecture", Error, "the program is built for another architecture than the image"},
	{"interpreter-missing", Error, "the interpreter in the script's first line does not exist"},
	{"loader-missing", Error, "the program is dynamically linked and its loader does not exist"},
	{"go-dynamic", Error, "the same of a Go program: it was built with cgo"},
	{"library-missing", Error, "the program is dynamically linked and one of its libraries does not exist"},
	{"shebang-crlf", Error, "the script's first line ends in CRLF"},
	{"shebang-too-long", Error, "the script's first line is longer than the kernel reads"},
	{"shebang-env", Error, "env cannot run what the script's first line says"},
	{"healthcheck-shell", Error, "HEALTHCHECK is in shell form and the image has no shell"},
	{"healthcheck-program", Error, "the program of HEALTHCHECK does not exist"},
	{"stopsignal-invalid", Error, "STOPSIGNAL is no signal that a program can handle"},
	{"stopsignal-ignored", Warning, "a Go program ignores STOPSIGNAL unless it asks for that signal"},
	{"stopsignal-dumps", Warning, "a Go program ends with a dump of its goroutines on STOPSIGNAL"},
	{"user-missing", Error, "USER is a name that /etc/passwd or /etc/group lacks"},
	{"root-user", Note, "the program runs as root"},
	{"ca-certificates-missing", Note, "the program has an HTTP client and the image has no CA certificates"},
	{"passwd-missing", Note, "the program asks for users and the image has no /etc/passwd"},
	{"tmp-missing", Note, "the program can make temporary files and the image has no /tmp"},
	{"init-not-needed", Note, "tini or the like before a program that imports this library"},
	{"platforms-differ", Warning, "the images of an index differ in more than the platform"},
}

var severities = func() map[string]Severity {
	m := map[string]Severity{}
	for _, c := range Codes {
		m[c.Name] = c.Severity
	}
	return m
}()

// UnmarshalJSON reads what MarshalJSON has written.
func (s *Severity) UnmarshalJSON(text []byte) error {
	for *s = Note; *s <= Error; *s++ {
		if fmt.Sprintf("%q", s.String()) == string(text) {
			return nil
		}
	}
	return fmt.Errorf("no severity: %s", text)
}
