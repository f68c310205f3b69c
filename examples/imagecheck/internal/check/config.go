// SPDX-License-Identifier: MIT

package check

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"github.com/entrypoint-go/entrypoint/examples/imagecheck/internal/image"
	"github.com/entrypoint-go/entrypoint/internal/inspect"
)

// A user is whom the program runs as.
type user struct {
	uid   int
	gids  []int
	known bool
	drops bool // a wrapper changes it
}

// checkUser finds the numbers of USER, which is name, uid, name:group and so on.
func (c *checker) checkUser() {
	name, group, hasGroup := strings.Cut(c.config.User, ":")
	c.user.known = true
	var gid int
	if uid, err := strconv.Atoi(name); err == nil || name == "" {
		c.user.uid = uid
		if fields := c.lookup("/etc/passwd", 2, strconv.Itoa(uid)); len(fields) > 3 {
			gid, _ = strconv.Atoi(fields[3])
		}
	} else if fields := c.lookup("/etc/passwd", 0, name); len(fields) > 3 {
		c.user.uid, _ = strconv.Atoi(fields[2])
		gid, _ = strconv.Atoi(fields[3])
	} else {
		c.user.known = false
		c.add("user-missing", fmt.Sprintf("USER is %q, which /etc/passwd does not have: the container does not start", c.config.User), "write numbers: USER 65534:65534")
	}
	if hasGroup {
		number, err := strconv.Atoi(group)
		if err != nil {
			fields := c.lookup("/etc/group", 0, group)
			if len(fields) < 3 {
				c.user.known = false
				c.add("user-missing", fmt.Sprintf("the group of USER %q is missing in /etc/group: the container does not start", c.config.User), "write numbers: USER 65534:65534")
				return
			}
			number, _ = strconv.Atoi(fields[2])
		}
		gid = number
	}
	c.user.gids = []int{gid}
}

// lookup returns the fields of the line of /etc/passwd or /etc/group that has a
// value in a field.
func (c *checker) lookup(file string, field int, value string) []string {
	for line := range strings.Lines(c.read(file)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) > field && fields[field] == value {
			return fields
		}
	}
	return nil
}

// denied says why the user may not execute a file that has an x bit, or "".
func (u user) denied(c *checker, file string) string {
	if !u.known || u.uid == 0 || u.drops {
		return ""
	}
	real, err := c.fsys.Real(c.inside(file))
	if err != nil {
		return ""
	}
	for at := real; ; at = path.Dir(at) {
		info, err := c.fsys.Stat(at)
		if err != nil {
			return ""
		}
		if owner, ok := info.Sys().(image.Owner); ok && !u.mayExecute(info.Mode(), owner) {
			what := "its mode"
			if at != real {
				what = fmt.Sprintf("the mode of the directory /%s", at)
			}
			return fmt.Sprintf("permission denied: %s is %v of %d:%d, and the image's user is %d:%d", what, info.Mode(), owner.UID, owner.GID, u.uid, u.gids[0])
		}
		if at == "." {
			return ""
		}
	}
}

func (u user) mayExecute(mode fs.FileMode, owner image.Owner) bool {
	switch {
	case owner.UID == u.uid:
		return mode&0o100 != 0
	case slices.Contains(u.gids, owner.GID):
		return mode&0o010 != 0
	}
	return mode&0o001 != 0
}

// checkHealth checks the command of HEALTHCHECK.
func (c *checker) checkHealth() {
	h := c.config.Healthcheck
	if h == nil || len(h.Test) < 2 {
		return
	}
	if h.Test[0] == "CMD" {
		if _, err := c.lookPath(h.Test[1]); err != nil {
			c.add("healthcheck-program", fmt.Sprintf("HEALTHCHECK runs %q, which does not exist: the container is unhealthy for ever", h.Test[1]), "name a program of the image")
		}
		return
	}
	shell := "/bin/sh"
	if len(c.config.Shell) > 0 {
		shell = c.config.Shell[0]
	}
	if _, err := c.lookPath(shell); err != nil {
		c.add("healthcheck-shell", fmt.Sprintf("HEALTHCHECK %q needs %s, which the image lacks: the container is unhealthy for ever", h.Test[1], shell),
			fmt.Sprintf("write HEALTHCHECK CMD %s", inspect.JSONArray(healthWords(h.Test[1]))))
		return
	}
	if name := firstProgram(h.Test[1]); name != "" {
		if _, err := c.lookPath(name); err != nil {
			c.add("healthcheck-program", fmt.Sprintf("HEALTHCHECK runs %q, which does not exist: the container is unhealthy for ever", name), "install it, or let the program check itself")
		}
	}
}

// healthWords are the words of a health check without || exit 1, which exec
// form does not need.
func healthWords(text string) []string {
	text, _, _ = strings.Cut(text, "||")
	if words, ok := inspect.SplitPlain(strings.TrimSpace(text)); ok {
		return words
	}
	return []string{"/app", "healthcheck"}
}

// firstProgram returns the program that a command line starts first, or "" if that
// is not known or belongs to the shell.
func firstProgram(text string) string {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil || len(file.Stmts) == 0 {
		return ""
	}
	stmt := file.Stmts[0]
	for {
		binary, ok := stmt.Cmd.(*syntax.BinaryCmd)
		if !ok {
			break
		}
		stmt = binary.X
	}
	call, ok := stmt.Cmd.(*syntax.CallExpr)
	if !ok || len(call.Args) == 0 {
		return ""
	}
	name, known := literal(call.Args[0])
	if !known || builtins[name] {
		return ""
	}
	return name
}

var builtins = func() map[string]bool {
	m := map[string]bool{}
	for name := range strings.FieldsSeq(". : [ alias bg break cd command continue echo eval exec exit export false fg getopts hash jobs kill let local printf pwd read readonly return set shift source test times trap true type ulimit umask unalias unset wait") {
		m[name] = true
	}
	return m
}()

// checkStopSignal checks STOPSIGNAL against the program.
func (c *checker) checkStopSignal() {
	given := c.config.StopSignal
	if given == "" {
		return
	}
	const fix = "remove STOPSIGNAL: SIGTERM is the default"
	name, number := signalOf(given)
	isGo := c.result.Program.Go != ""
	switch {
	case number == 0, number > 64:
		c.add("stopsignal-invalid", fmt.Sprintf("STOPSIGNAL %s is no signal", given), fix)
	case number == 9, number == 19, number >= 32 && number <= 33:
		c.add("stopsignal-invalid", fmt.Sprintf("STOPSIGNAL %s (%s) reaches no program", given, name), fix)
	case !isGo || name == "SIGTERM" || name == "SIGINT":
	case dumps[name]:
		c.add("stopsignal-dumps", fmt.Sprintf("a Go program ends with a dump of its goroutines and exit code 2 on STOPSIGNAL %s", given), fix)
	default:
		c.add("stopsignal-ignored", fmt.Sprintf("STOPSIGNAL %s does not stop a Go program that does not ask for it, and this library does not by default", given), fix)
	}
}

// dumps are the signals on which Go dumps its goroutines (os/signal).
var dumps = map[string]bool{"SIGQUIT": true, "SIGILL": true, "SIGTRAP": true, "SIGABRT": true, "SIGBUS": true, "SIGFPE": true, "SIGSEGV": true, "SIGSTKFLT": true, "SIGSYS": true}

// signalNames are Linux's, by number.
var signalNames = strings.Fields("0 SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2 SIGPIPE SIGALRM SIGTERM SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU SIGXFSZ SIGVTALRM SIGPROF SIGWINCH SIGIO SIGPWR SIGSYS")

// signalOf reads what Docker takes: SIGTERM, TERM, 15, SIGRTMIN+3. The number
// is 0 if that is no signal.
func signalOf(text string) (name string, number int) {
	name = strings.ToUpper(text)
	if number, err := strconv.Atoi(name); err == nil {
		if number > 0 && number < len(signalNames) {
			return signalNames[number], number
		}
		return text, max(number, 0)
	}
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	for prefix, first := range map[string]int{"SIGRTMIN": 34, "SIGRTMAX": 64} {
		if offset, ok := strings.CutPrefix(name, prefix); ok {
			n, err := strconv.Atoi(cmp.Or(offset, "0"))
			if err != nil || first+n < 34 || first+n > 64 {
				return name, 0
			}
			return name, first + n
		}
	}
	name = cmp.Or(map[string]string{"SIGIOT": "SIGABRT", "SIGPOLL": "SIGIO", "SIGCLD": "SIGCHLD"}[name], name)
	return name, max(slices.Index(signalNames, name), 0)
}

// checkNeeds notes what the program may ask for and the image lacks.
func (c *checker) checkNeeds() {
	if c.user.known && c.user.uid == 0 && !c.user.drops {
		c.add("root-user", "the program runs as root", "write USER 65534:65534")
	}
	l := c.result.Program.linked
	if l.client && l.roots && !c.hasCertificates() && c.env["SSL_CERT_FILE"]+c.env["SSL_CERT_DIR"] == "" {
		c.add("ca-certificates-missing", "the program has an HTTP client, and the image no CA certificates: it can verify no server", "write COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/")
	}
	if l.users && !c.exists("/etc/passwd") {
		c.add("passwd-missing", "the program has os/user, and the image no /etc/passwd: lookups fail", "write COPY --from=build /etc/passwd /etc/passwd")
	}
	// A server has them for forms with large files, which it may never take.
	if _, err := c.files.Stat(cmp.Or(c.env["TMPDIR"], "/tmp")); err != nil && l.temporary && !l.form {
		c.add("tmp-missing", "the program can make temporary files, and the image has no /tmp: that fails unless it names another directory", "write WORKDIR /tmp, or mount a tmpfs there")
	}
	if c.result.init != "" && l.app {
		c.add("init-not-needed", fmt.Sprintf("the program imports this library, which does what %s does", c.result.init), fmt.Sprintf("remove %s from ENTRYPOINT; it does no harm", c.result.init))
	}
}

// certificates are where Go looks on Linux (crypto/x509/root_linux.go).
var certificates = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/pki/tls/cacert.pem",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
}

func (c *checker) hasCertificates() bool {
	if slices.ContainsFunc(certificates, c.exists) {
		return true
	}
	for _, dir := range []string{"etc/ssl/certs", "etc/pki/tls/certs"} {
		if list, _ := fs.ReadDir(c.fsys, dir); len(list) > 0 {
			return true
		}
	}
	return false
}
