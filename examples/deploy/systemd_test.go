// SPDX-License-Identifier: MIT

//go:build linux

package deploy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/containers/podman/v5/pkg/systemd/parser"
	"github.com/containers/podman/v5/pkg/systemd/quadlet"
)

// verify checks units by systemd itself. Of commands it asks that they exist, so
// that of the service is replaced by one that does.
func verify(t *testing.T, units map[string]string) error {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	args := []string{"verify", "--man=no", "--recursive-errors=no"}
	for name, text := range units {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	// It exits with 0 after a warning such as that of an unknown key.
	out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
	if err == nil && len(out) > 0 {
		err = fmt.Errorf("it warns")
	}
	if err != nil {
		return fmt.Errorf("systemd-analyze verify: %w\n%s", err, out)
	}
	return nil
}

func systemdUnits(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{
		"entrypoint-http.service": strings.Replace(readFile(t, "systemd/entrypoint-http.service"), "ExecStart=/usr/local/bin/entrypoint-http", "ExecStart=/bin/true", 1),
		"entrypoint-http.socket":  readFile(t, "systemd/entrypoint-http.socket"),
	}
}

func TestSystemdUnits(t *testing.T) {
	if err := verify(t, systemdUnits(t)); err != nil {
		t.Error(err)
	}
	unit := parse(t, "entrypoint-http.service", readFile(t, "systemd/entrypoint-http.service"))
	checkUnitGrace(t, unit, "Service", "TimeoutStopSec")
	if got, _ := unit.Lookup("Service", "Type"); got != "notify" {
		t.Errorf("Type=%s, want notify", got)
	}
	if got, _ := unit.Lookup("Unit", "Requires"); got != "entrypoint-http.socket" {
		t.Errorf("Requires=%s, want the socket", got)
	}
}

func TestSystemdStrict(t *testing.T) {
	for name, slip := range map[string][2]string{
		"misspelt":  {"TimeoutStopSec", "TimeoutStop"},
		"no value":  {"KillMode=mixed", "KillMode=some"},
		"no group":  {"[Install]", "[Installation]"},
		"no filter": {"@system-service", "@system-services"},
	} {
		units := systemdUnits(t)
		broken := strings.Replace(units["entrypoint-http.service"], slip[0], slip[1], 1)
		if broken == units["entrypoint-http.service"] {
			t.Fatalf("%s: %q is not there", name, slip[0])
		}
		units["entrypoint-http.service"] = broken
		if err := verify(t, units); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

// checkUnitGrace checks SHUTDOWN_GRACE against a key of the same group, in seconds.
func checkUnitGrace(t *testing.T, unit *parser.UnitFile, group, key string) {
	t.Helper()
	environment, _ := unit.Lookup(group, "Environment")
	seconds, _ := unit.Lookup(group, key)
	given, err := time.ParseDuration(seconds + "s")
	if err != nil {
		t.Errorf("%s=%s: %v", key, seconds, err)
	}
	checkGrace(t, strings.TrimPrefix(environment, "SHUTDOWN_GRACE="), given)
}

func parse(t *testing.T, name, text string) *parser.UnitFile {
	t.Helper()
	unit := parser.NewUnitFile()
	unit.Filename = name
	if err := unit.Parse(text); err != nil {
		t.Fatal(err)
	}
	return unit
}

// convert makes of a quadlet the service that Podman's generator makes of it.
func convert(t *testing.T, text string) (*parser.UnitFile, error) {
	t.Helper()
	container := parse(t, "entrypoint-http.container", text)
	info := &quadlet.UnitInfo{ServiceName: "entrypoint-http"}
	return quadlet.ConvertContainer(container, false, map[string]*quadlet.UnitInfo{container.Filename: info})
}

func TestQuadlet(t *testing.T) {
	text := readFile(t, "quadlet/entrypoint-http.container")
	service, err := convert(t, text)
	if err != nil {
		t.Fatal(err)
	}
	unit := parse(t, "entrypoint-http.container", text)
	checkUnitGrace(t, unit, "Container", "StopTimeout")

	// What matters to the program in the container.
	start, _ := service.Lookup("Service", "ExecStart")
	for _, flag := range []string{"--sdnotify=container", "--stop-timeout", "--user 65534:65534", "--read-only", "--cap-drop all", "--env SHUTDOWN_GRACE="} {
		if !strings.Contains(start, flag) {
			t.Errorf("no %s in %s", flag, start)
		}
	}
	if strings.Contains(start, "--init") {
		t.Errorf("Podman's init is PID 1: %s", start)
	}
	generated, err := service.ToString()
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(t, map[string]string{"entrypoint-http.service": strings.ReplaceAll(generated, "/usr/bin/podman", "/bin/true")}); err != nil {
		t.Error(err)
	}
}

func TestQuadletStrict(t *testing.T) {
	text := readFile(t, "quadlet/entrypoint-http.container")
	for name, slip := range map[string][2]string{
		"misspelt": {"StopTimeout", "StopTime"},
		"no image": {"Image=", "#Image="},
		"Type":     {"[Service]", "[Service]\nType=simple"},
	} {
		broken := strings.Replace(text, slip[0], slip[1], 1)
		if broken == text {
			t.Fatalf("%s: %q is not there", name, slip[0])
		}
		if _, err := convert(t, broken); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

// A manager is what systemd is to the service: it has the socket, and is told of
// the states.
type manager struct {
	t       *testing.T
	program string
	socket  *os.File
	addr    string
	notify  *net.UnixConn
}

func newManager(t *testing.T) *manager {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close(); notify.Close() })
	return &manager{t, activated(t), socket, l.Addr().String(), notify}
}

// start starts the service and returns when it has said that it is ready. The
// shell is there because LISTEN_PID is that of the new process.
func (m *manager) start() *exec.Cmd {
	m.t.Helper()
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$1"`, "sh", m.program)
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "SHUTDOWN_GRACE=30s", "NOTIFY_SOCKET="+m.notify.LocalAddr().String())
	cmd.ExtraFiles = []*os.File{m.socket}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	m.await("READY=1")
	return cmd
}

// await returns when the service has sent a state.
func (m *manager) await(state string) {
	m.t.Helper()
	m.notify.SetReadDeadline(time.Now().Add(time.Minute))
	for buf := make([]byte, 4096); ; {
		n, err := m.notify.Read(buf)
		if err != nil {
			m.t.Fatalf("no %s: %v", state, err)
		}
		if strings.Contains(string(buf[:n]), state) {
			return
		}
	}
}

// While the service restarts, connections wait in the socket: every request gets
// its response, though nobody repeats one.
func TestSocketActivation(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	running := m.start()

	var sent atomic.Int64
	var all sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				res, err := client.Post("http://"+m.addr+"/", "text/plain", io.NopCloser(strings.NewReader("work")))
				if err != nil {
					t.Error(err)
					return
				}
				line, err := bufio.NewReader(res.Body).ReadString('\n')
				res.Body.Close()
				if err != nil || !strings.HasPrefix(line, "hello from process ") {
					t.Errorf("got %q, %v", line, err)
				}
				sent.Add(1)
			}
		})
	}
	for range 5 {
		before := sent.Load()
		for deadline := time.Now().Add(time.Minute); sent.Load() < before+20 && time.Now().Before(deadline) && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
		if err := running.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		m.await("STOPPING=1")
		if err := running.Wait(); err != nil {
			t.Errorf("the service ended with %v", err)
		}
		running = m.start()
	}
	close(stop)
	all.Wait()
	t.Logf("%d requests in 5 restarts", sent.Load())
}

// The tool that systemd has for trying activation: its environment is systemd's.
func TestSystemdSocketActivate(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("systemd-socket-activate")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	m := newManager(t) // for its notify socket
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cmd := exec.Command(tool, "--listen="+addr, "--setenv=NOTIFY_SOCKET="+m.notify.LocalAddr().String(), m.program)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })

	var res *http.Response
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if res, err = http.Get("http://" + addr + "/readyz"); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("/readyz: %s", res.Status)
	}
	m.await("READY=1")
	cmd.Process.Signal(syscall.SIGTERM)
	m.await("STOPPING=1")
	if err := cmd.Wait(); err != nil {
		t.Errorf("the service ended with %v", err)
	}
}

// Run by systemd itself, where that is what runs this machine.
func TestSystemdRun(t *testing.T) {
	if name, _ := os.ReadFile("/proc/1/comm"); strings.TrimSpace(string(name)) != "systemd" || os.Getuid() != 0 {
		t.Skipf("needs root and systemd as PID 1, which is %q", strings.TrimSpace(string(name)))
	}
	program := activated(t)
	unit := fmt.Sprintf("entrypoint-test-%d", os.Getpid())
	// It returns when the service has sent READY=1.
	out, err := exec.Command("systemd-run", "--unit="+unit, "--property=Type=notify", "--property=TimeoutStopSec=30",
		"--property=KillMode=mixed", "--setenv=SHUTDOWN_GRACE=30s", program).CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-run: %v\n%s", err, out)
	}
	if out, err := exec.Command("systemctl", "stop", unit).CombinedOutput(); err != nil {
		t.Errorf("systemctl stop: %v\n%s", err, out)
	}
}
