// SPDX-License-Identifier: MIT

package check

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/entrypoint-go/entrypoint/internal/inspect"
)

// wrappers are programs that start another one, by their options that take a
// value. Those that stay pass signals on; the others are replaced.
var wrappers = map[string]wrapper{
	"tini":        {values: "ep", stays: true},
	"tini-static": {values: "ep", stays: true},
	"docker-init": {values: "ep", stays: true},
	"dumb-init":   {values: "r", long: "--rewrite", stays: true},
	"catatonit":   {stays: true},
	"env":         {values: "uC", long: "--unset --chdir", assigns: true},
	"gosu":        {skip: 1, drops: true},
	"su-exec":     {skip: 1, drops: true},
	"nice":        {values: "n", long: "--adjustment"},
	"setsid":      {},
	"stdbuf":      {values: "ioe"},
}

type wrapper struct {
	values  string // letters of options that are followed by a value
	long    string // long options of that kind
	stays   bool   // it is not replaced by the program
	assigns bool   // NAME=value may precede the program
	skip    int    // arguments before the program
	drops   bool   // root's privileges
}

// program returns the command line that a wrapper runs.
func (w wrapper) program(args []string) []string {
	for len(args) > 0 {
		arg := args[0]
		switch {
		case arg == "--":
			return args[min(1+w.skip, len(args)):]
		case strings.HasPrefix(arg, "-") && len(arg) > 1:
			args = args[1:]
			takes := len(arg) == 2 && strings.Contains(w.values, arg[1:]) || slices.Contains(strings.Fields(w.long), arg)
			if takes && len(args) > 0 {
				args = args[1:]
			}
		case w.assigns && strings.Contains(arg, "="):
			args = args[1:]
		default:
			return args[min(w.skip, len(args)):]
		}
	}
	return nil
}

// A step is one program on the way from what the engine executes to the program
// that the image is for.
type step struct {
	argv  []string
	first bool // the engine executes it
	pid1  bool // it replaces PID 1, and is not a child
	lost  bool // a shell above it keeps signals
}

// follow goes from the command that the engine executes to the program, through
// inits, wrappers, shells and scripts.
func (c *checker) follow(argv []string) {
	s := step{argv: argv, first: true, pid1: true}
	for range 10 {
		file, ok := c.checkProgram(s.argv)
		if s.pid1 {
			c.result.PID1 = cmp.Or(file, s.argv[0])
		}
		if !ok {
			c.result.Program.Path = file
			return
		}
		next, ok := c.step(s, file)
		if !ok {
			return
		}
		if len(next.argv) == 0 { // something that only the shell or the script knows
			c.result.Reaches = reach(next.lost)
			if next.pid1 {
				c.result.PID1 = "what " + base(file) + " executes"
			}
			return
		}
		s = next
	}
}

func reach(lost bool) Reach {
	if lost {
		return Lost
	}
	return Reaches
}

// step returns what comes after s, whose program is file. If nothing does, that
// is the program, and ok is false.
func (c *checker) step(s step, file string) (next step, ok bool) {
	next = step{pid1: s.pid1, lost: s.lost}
	if w, isWrapper := wrappers[c.realBase(file)]; isWrapper {
		if next.argv = w.program(s.argv[1:]); len(next.argv) > 0 {
			next.pid1 = s.pid1 && !w.stays
			if w.stays {
				c.result.init = base(file)
			}
			if w.drops {
				c.user.drops = true
			}
			return next, true
		}
	}

	text, script := inspect.ShellRuns(s.argv)
	interpreter := inspect.Shebang(inspect.Head(c.files, file))
	switch {
	case text != "":
		return c.shellText(s, next, file, text), true
	case script != "":
		at := slices.Index(s.argv, script)
		return c.shellScript(s, next, file, script, s.argv[at+1:])
	case interpreter != "":
		name, arg := interpreter, inspect.ShebangArg(inspect.Head(c.files, file))
		if base(name) == "env" {
			name = cmp.Or(last(strings.Fields(arg)), name)
		}
		if shellNames[base(name)] {
			return c.shellScript(s, next, name, file, s.argv[1:])
		}
	}
	c.result.Program = c.describe(file)
	c.result.Program.Path = file
	c.result.Reaches = reach(s.lost)
	return step{}, false
}

var shellNames = map[string]bool{"sh": true, "ash": true, "bash": true, "dash": true, "ksh": true, "mksh": true, "zsh": true, "busybox": true}

func last(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1]
}

// shellText judges sh -c text, which is shell form unless it ends in exec.
func (c *checker) shellText(s, next step, file, text string) step {
	at := slices.Index(s.argv, text)
	sh := shellOf(c.realBase(file))
	e := sh.readScript(text, s.argv[min(at+2, len(s.argv)):], true)
	next.argv, next.lost = e.words, s.lost || !e.exec && !e.traps
	next.pid1 = s.pid1 && e.exec

	code, instruction := "shell-form-entrypoint", "ENTRYPOINT"
	if !s.first || len(c.config.Entrypoint) == 0 {
		code, instruction = "shell-form-cmd", "CMD"
		if c.result.Args != nil {
			instruction = "the arguments"
		}
	}
	fix := strings.Replace(execForm(s.argv[:at+1]), "ENTRYPOINT", instruction, 1)
	line := strings.Join(s.argv[:at+1], " ")
	switch {
	case !e.valid:
		next.lost = s.lost // nobody knows
	case e.implied:
		c.addAs(Warning, code, fmt.Sprintf("%q: the program replaces the shell only because %s does that; another shell would keep %s", line, sh.name, c.result.StopSignal), fix)
	case next.lost && !s.lost:
		c.add(code, fmt.Sprintf("%s runs %q, and does not forward %s: a stop takes the whole grace period and ends in SIGKILL", c.who(s, file), line, c.result.StopSignal), fix)
	}
	if rest := s.argv[at+1:]; e.valid && !e.args && s.first && len(rest) > 0 {
		c.add("args-dropped", fmt.Sprintf("%q gets the arguments %s, and does nothing with them", line, inspect.JSONArray(rest)),
			`write exec form, or use them in the text: sh -c 'exec /app "$@"' sh, whose first argument is $0`)
	}
	return next
}

// who names a step for a reason.
func (c *checker) who(s step, file string) string {
	if s.pid1 {
		return "PID 1 is " + file + ", which"
	}
	return file
}

// shellScript judges a script that a shell runs with these arguments.
func (c *checker) shellScript(s, next step, sh, script string, args []string) (step, bool) {
	text := c.read(script)
	e := shellOf(c.realBase(sh)).readScript(text, args, false)
	if !e.valid { // no script, or one of a shell that we cannot read
		return next, true
	}
	next.argv, next.pid1 = e.words, s.pid1 && e.exec
	next.lost = s.lost || !e.exec && !e.traps
	if next.lost && !s.lost {
		fix := `end it with exec: exec /app "$@"`
		if e.last != "" {
			fix = "write exec before its last command: exec " + e.last
		}
		c.add("script-no-exec", fmt.Sprintf("%s does not end in exec: the shell stays PID 1 and does not forward %s, so that a stop takes the whole grace period and ends in SIGKILL", script, c.result.StopSignal), fix)
	}
	if !e.args && s.first {
		severity := Note
		if len(args) > 0 {
			severity = Warning
		}
		c.addAs(severity, "args-dropped", fmt.Sprintf(`%s does not use its arguments: CMD and the arguments of docker run are ignored`, script), `write "$@" after the program: exec /app "$@", or exec "$@"`)
	}
	if e.splits {
		c.add("args-split", fmt.Sprintf("%s passes its arguments on without quotes: those with spaces come apart", script), `write "$@", with the quotes`)
	}
	return next, true
}

// read returns the text of a script, as far as a script can be long.
func (c *checker) read(name string) string {
	f, err := c.files.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, _ := io.ReadAll(io.NewSectionReader(f, 0, 256<<10))
	return string(text)
}

// lookPath finds a program as the engine does before it executes it.
func (c *checker) lookPath(name string) (string, error) {
	if strings.Contains(name, "/") {
		_, err := c.files.Stat(name)
		return name, err
	}
	denied := ""
	for dir := range strings.SplitSeq(c.env["PATH"], ":") {
		file := path.Join(cmp.Or(dir, "."), name)
		info, err := c.files.Stat(file)
		switch {
		case err != nil || info.IsDir():
		case info.Mode()&0o111 == 0:
			denied = cmp.Or(denied, file)
		default:
			return file, nil
		}
	}
	if denied != "" {
		return denied, syscall.EACCES
	}
	return "", fmt.Errorf("%w in PATH", fs.ErrNotExist)
}

// realBase is the last element of a program's path without links: dash for
// /bin/sh on Debian.
func (c *checker) realBase(name string) string {
	if file, err := c.lookPath(name); err == nil {
		if real, err := c.fsys.Real(c.inside(file)); err == nil {
			return base(real)
		}
	}
	return base(name)
}

// inside returns the name of a file in fsys.
func (c *checker) inside(name string) string {
	if !path.IsAbs(name) {
		name = path.Join(cmp.Or(c.config.WorkingDir, "/"), name)
	}
	return cmp.Or(path.Clean("/" + name)[1:], ".")
}

func base(name string) string { return path.Base(name) }

// execForm is what to write in place of a shell form. A list with single quotes
// is no JSON, so that Docker has taken it for a command line.
func execForm(args []string) string {
	text, _ := inspect.ShellRuns(args)
	if list := strings.TrimSpace(text); strings.HasPrefix(list, "[") {
		var words []string
		if json.Unmarshal([]byte(strings.ReplaceAll(list, "'", `"`)), &words) == nil && len(words) > 0 {
			return fmt.Sprintf("write ENTRYPOINT %s: exec form is JSON, with double quotes", inspect.JSONArray(words))
		}
	}
	return inspect.ExecForm(args)
}

// execWords returns the words of a command in shell form, if that is plain.
func execWords(args []string) []string {
	text, _ := inspect.ShellRuns(args)
	if words, ok := inspect.SplitPlain(text); ok {
		return words
	}
	return args
}
