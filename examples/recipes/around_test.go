// SPDX-License-Identifier: MIT

package recipes

import (
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A stream of events ends when the stop begins, with its last event, long before
// the grace is over.
func TestSSE(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	p := start(t, "sse", "ADDR="+addr, "SHUTDOWN_GRACE=60s")
	p.awaitHTTP("http://" + addr)
	resp, err := http.Get("http://" + addr + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(resp.Body)
		body <- string(text)
	}()
	began := time.Now()
	p.stop()
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("the stop took %v of 60s", took)
	}
	if got := <-body; !strings.HasPrefix(got, "data: tick\n\n") || !strings.HasSuffix(got, "event: bye\ndata: reconnect\n\n") {
		t.Errorf("got %q, want ticks and a last event", got)
	}
	p.wantCleanEnd(nil)
}

// The program's own health check succeeds while it serves, and fails, with a
// reason, when it does not.
func TestHealthcheck(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	check := func() (string, error) {
		cmd := exec.Command(program(t, "healthcheck"), "health")
		cmd.Env = append(cmd.Environ(), "ADDR="+addr)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := check(); err == nil || !strings.Contains(out, addr) {
		t.Errorf("got %v, want an error that names %s:\n%s", err, addr, out)
	}
	p := start(t, "healthcheck", "ADDR="+addr)
	p.awaitHTTP("http://" + addr)
	if out, err := check(); err != nil {
		t.Errorf("got %v:\n%s", err, out)
	}
	p.stop()
	p.wantCleanEnd(nil)
}

func TestStats(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	p := start(t, "stats", "ADDR="+addr)
	p.awaitHTTP("http://" + addr)
	resp, err := http.Get("http://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"app_requests_in_flight 1", "app_ready 1", "app_orphans_reaped 0"} {
		if !strings.Contains(string(text), "\n"+line+"\n") {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
	p.stop()
	p.wantCleanEnd(nil)
}
