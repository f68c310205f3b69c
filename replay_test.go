// SPDX-License-Identifier: MIT

//go:build replay && linux

package entrypoint_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/dockertest"
)

// The commands of the documents, one after the other, in a clean clone. See
// commands_test.go for which they are, and what is done with those that cannot run
// as they are.
func TestReplay(t *testing.T) {
	dockertest.GoImage(t)
	all := commands(t)
	r := newReplay(t, all)
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].file == all[0].file && all[n].block == all[0].block {
			n++
		}
		t.Run(fmt.Sprintf("%s:%d", all[0].file, all[0].line), func(t *testing.T) { r.replay(t, all[:n]) })
		all = all[n:]
	}
	if out, err := r.command(t, "git status --short", r.clone).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("the commands have changed the clone: %v\n%s", err, out)
	}
}

// A replay has a folder with the clone, the reader's module, and what stands in
// for /usr/local/bin, /etc and /tmp.
type replay struct {
	dir, clone, reader string
}

func newReplay(t *testing.T, all []command) *replay {
	t.Helper()
	dir := t.TempDir()
	r := &replay{dir: dir, clone: filepath.Join(dir, "clone"), reader: filepath.Join(dir, reader)}
	for _, name := range []string{r.clone, r.reader, dir + "/bin", dir + "/etc/systemd/system", dir + "/etc/containers/systemd"} {
		if err := os.MkdirAll(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	keepEngineClean(t, all)

	// What is in the checkout and not committed yet is in the clone. By its date
	// the same clone is the same version, so that the engine knows its image.
	const clone = `
		export GIT_COMMITTER_DATE=$(git log -1 --format=%cI)
		export GIT_AUTHOR_DATE=$GIT_COMMITTER_DATE
		git ls-files -z | tar --null --ignore-failed-read -T - -c | tar -C "$0" -x
		cd "$0"; git init -q; git add .
		git -c user.name=replay -c user.email=replay@localhost commit -q -m clone`
	if out, err := exec.Command("sh", "-e", "-c", clone, r.clone).CombinedOutput(); err != nil {
		t.Fatalf("clone: %v\n%s", err, out)
	}
	write(t, filepath.Join(r.reader, "main.go"), []byte(goBlocks("README.md", readFile(t, "README.md"))[0].code))
	write(t, filepath.Join(r.reader, "Dockerfile"), []byte(fencedBlock(t, "dockerfile")))
	write(t, filepath.Join(r.reader, ".dockerignore"), []byte("app.tar\n"))
	write(t, filepath.Join(dir, ".curlrc"), []byte("silent\nshow-error\nfail\n")) // an HTTP error is one
	if out, err := r.command(t, "go mod init example.com/app", r.reader).CombinedOutput(); err != nil {
		t.Fatalf("go mod init: %v\n%s", err, out)
	}
	return r
}

var (
	imageName  = regexp.MustCompile(`^(?:docker|podman) build .*-t (\S+)`)
	volumeName = regexp.MustCompile(`-v (\w+):`)
)

// keepEngineClean removes at the end the images and volumes that the commands
// name, and their containers. So there must be none of these names before.
func keepEngineClean(t *testing.T, all []command) {
	t.Helper()
	images, volumes := map[string]bool{"entrypoint-rollout": true}, map[string]bool{}
	for _, c := range all {
		if match := imageName.FindStringSubmatch(c.text); match != nil {
			images[match[1]] = true
		}
		if match := volumeName.FindStringSubmatch(c.text); match != nil {
			volumes[match[1]] = true
		}
	}
	for kind, names := range map[string]map[string]bool{"image": images, "volume": volumes} {
		for name := range names {
			if exec.Command("docker", kind, "inspect", name).Run() == nil {
				t.Fatalf("there is a Docker %s %s: TestReplay would replace it, and remove it: docker %s rm %s", kind, name, kind, name)
			}
		}
	}
	t.Cleanup(func() {
		for name := range images {
			const remove = `docker ps -aq --filter "ancestor=$0" | xargs -r docker rm --force --volumes; docker image rm --force "$0"`
			exec.Command("sh", "-c", remove, name).Run() // there is no image when its build has failed
		}
		for name := range volumes {
			exec.Command("docker", "volume", "rm", "--force", name).Run()
		}
	})
}

// replay runs the commands of a block, up to the first that fails. What serves is
// stopped at its end, or before what has been started is taken down.
func (r *replay) replay(t *testing.T, block []command) {
	os.RemoveAll(r.dir + "/tmp") // a new machine's
	os.Mkdir(r.dir+"/tmp", 0o755)
	var servers []*server
	stop := func() {
		for _, s := range servers {
			if err := s.stop(t); err != nil {
				t.Errorf("%s:%d: `%s`: after Ctrl-C: %v%s\n%s", s.file, s.line, s.text, err, s.instead, s.output())
			}
		}
		servers = nil
	}
	defer stop()
	for _, c := range block {
		rule := ruleFor(c.text)
		switch {
		case rule == nil:
			t.Errorf("%s:%d: no rule for `%s`", c.file, c.line, c.text)
		case rule.how == mention, t.Failed() && !strings.Contains(c.text, " down "):
		case rule.how == elsewhere:
			t.Logf("%s:%d: not replayed: `%s`, %s", c.file, c.line, c.text, rule.why)
		case rule.how == serves:
			if s := r.serve(t, c, rule); s != nil {
				servers = append(servers, s)
			}
		default:
			if strings.Contains(c.text, " down ") {
				stop()
			}
			r.run(t, c, rule)
		}
	}
}

// run runs a command that ends.
func (r *replay) run(t *testing.T, c command, rule *rule) {
	line, folder := r.line(c, rule)
	begin := time.Now()
	out, err := r.command(t, line, folder).CombinedOutput()
	want := rule.expand(c.text, rule.want)
	if err == nil && !regexp.MustCompile(want).Match(out) {
		err = fmt.Errorf("its output does not match %q", want)
	}
	if err != nil {
		t.Errorf("%s:%d: `%s`: %v%s\n%s", c.file, c.line, c.text, err, instead(c, rule, line), out)
		return
	}
	t.Logf("%s:%d: %.1f s: `%s`%s", c.file, c.line, time.Since(begin).Seconds(), c.text, instead(c, rule, line))
}

// expand puts what the groups of the pattern match into a template.
func (r *rule) expand(text, template string) string {
	pattern := regexp.MustCompile(r.pattern)
	return string(pattern.ExpandString(nil, template, text, pattern.FindStringSubmatchIndex(text)))
}

// line is what runs in place of the command, and where.
func (r *replay) line(c command, rule *rule) (line, folder string) {
	line = c.text
	if rule.instead != "" {
		matched := rule.expand(line, "$0")
		line = strings.Replace(line, matched, rule.expand(line, rule.instead), 1)
	}
	if strings.HasPrefix(line, "docker compose ") && exec.Command("docker", "compose", "version").Run() != nil {
		line = strings.Replace(line, " ", "-", 1) // the program that came before the plugin
	}
	line = strings.NewReplacer("/usr/local/bin/", r.dir+"/bin/", " /etc/", " "+r.dir+"/etc/", " /tmp/", " "+r.dir+"/tmp/").Replace(line)
	switch rule.in {
	case reader:
		return line, r.reader
	case "":
		return line, filepath.Join(r.clone, c.folder)
	}
	return line, filepath.Join(r.clone, rule.in)
}

// instead says what has run in place of the command, and why.
func instead(c command, r *rule, line string) string {
	if line == c.text {
		return ""
	}
	return strings.TrimSuffix("\nin its place: "+line+"\n"+r.why, "\n")
}

// command is a line for the shell. The module is got from the clone, where it is
// to be published later, and into a module cache that is removed.
func (r *replay) command(t *testing.T, line, folder string) *exec.Cmd {
	ctx := t.Context()
	if deadline, ok := t.Deadline(); ok { // what is left is for the clean-up
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-2*time.Minute))
		t.Cleanup(cancel)
	}
	cmd := exec.CommandContext(ctx, "bash", "-o", "pipefail", "-c", line)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "PATH="+r.dir+"/bin:"+os.Getenv("PATH"), "CURL_HOME="+r.dir,
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=url.file://"+r.clone+".insteadOf", "GIT_CONFIG_VALUE_0=https://github.com/entrypoint-go/entrypoint")
	if folder == r.reader {
		cmd.Env = append(cmd.Env, "GOPRIVATE=github.com/entrypoint-go", "GOMODCACHE="+r.dir+"/modules", "GOFLAGS=-modcacherw")
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// A server has been started by a command that does not end by itself.
type server struct {
	command
	cmd     *exec.Cmd
	instead string
	done    chan struct{}
	err     error // when done is closed
	mu      sync.Mutex
	out     bytes.Buffer
}

func (s *server) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

func (s *server) output() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String()
}

// serve starts a server and returns when it has answered, nil if it does not.
func (r *replay) serve(t *testing.T, c command, rule *rule) *server {
	line, folder := r.line(c, rule)
	s := &server{command: c, cmd: r.command(t, line, folder), instead: instead(c, rule, line), done: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = s, s
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.err = s.cmd.Wait(); close(s.done) }()

	begin := time.Now()
	if err := s.answers(); err != nil {
		s.stop(t)
		t.Errorf("%s:%d: `%s`: %v%s\n%s", s.file, s.line, s.text, err, s.instead, s.output())
		return nil
	}
	t.Logf("%s:%d: %.1f s until it answers: `%s`%s", s.file, s.line, time.Since(begin).Seconds(), s.text, s.instead)
	return s
}

var serving = regexp.MustCompile(`INFO serving .*?:(\d+)`)

// answers returns when the log says where the server listens, and something has
// come from there: a response, or what HTTP/2 begins with.
func (s *server) answers() error {
	var port string
	for port == "" {
		select {
		case <-s.done:
			return fmt.Errorf("it has ended (%v), and not served", s.err)
		case <-time.After(20 * time.Millisecond):
		}
		if match := serving.FindStringSubmatch(s.output()); match != nil {
			port = match[1]
		}
	}
	conn, err := net.Dial("tcp", "localhost:"+port)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	if _, err := io.ReadFull(conn, make([]byte, 9)); err != nil {
		return fmt.Errorf("no answer on port %s: %w", port, err)
	}
	return nil
}

// stop is Ctrl-C, which goes to the whole process group. After it go run exits
// with 1 in any case, and writes the program's status if that is not 0; Compose 2
// exits with 130.
func (s *server) stop(t *testing.T) error {
	if err := syscall.Kill(-s.cmd.Process.Pid, syscall.SIGINT); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Error(err)
	}
	<-s.done
	switch code := s.cmd.ProcessState.ExitCode(); {
	case strings.HasPrefix(s.text, "go run ") && code == 1 && !strings.Contains(s.output(), "exit status"):
		return nil
	case strings.HasPrefix(s.text, "docker compose ") && code == 130:
		return nil
	}
	return s.err
}
