// SPDX-License-Identifier: MIT

//go:build docker && linux

package pid1_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/dockertest"
	"github.com/entrypoint-go/entrypoint/internal/nstest"
)

// slowLink makes all that the container sends slow: by a delay and a rate or, where the
// kernel has no netem, by the rate alone, with a queue that makes a delay.
func slowLink(t *testing.T, c *dockertest.Container, rate string) {
	t.Helper()
	var errs []string
	for _, discipline := range []string{"netem delay 50ms rate " + rate, "tbf burst 16kb latency 400ms rate " + rate} {
		args := []string{"--target", c.Inspect("{{.State.Pid}}"), "--net", "tc", "qdisc", "add", "dev", "eth0", "root"}
		out, err := exec.Command("nsenter", append(args, strings.Fields(discipline)...)...).CombinedOutput()
		if err == nil {
			t.Log(discipline)
			return
		}
		errs = append(errs, fmt.Sprintf("%s: %v: %s", discipline, err, out))
	}
	t.Fatalf("no slow link: %s", errs)
}

// TestSlowLink: curl gets a response whole from a container that is stopped, over a link
// that takes eight seconds for it. When the stop begins curl has received a part of it
// or, in the case "sent", the handler has returned and the kernel has the rest.
func TestSlowLink(t *testing.T) {
	image := dockertest.GoImage(t)
	for _, test := range []struct {
		name, kind, curl string
		sent             bool
		want             string
	}{
		{"HTTP/1.1", "http", "--http1.1", false, "200 over 1.1, 1048576 bytes <nil>"},
		{"HTTP/1.1, TLS", "tls", "--http1.1", false, "200 over 1.1, 1048576 bytes <nil>"},
		{"HTTP/2, TLS", "tls", "--http2", false, "200 over 2, 1048576 bytes <nil>"},
		{"h2c", "h2c", "--http2-prior-knowledge", false, "200 over 2, 1048576 bytes <nil>"},
		{"HTTP/1.1, sent", "http", "--http1.1", true, "200 over 1.1, 131072 bytes <nil>"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			flags := append(inContainer(t, "bytes"), "--entrypoint", "/test")
			args, rate := []string{"-size=1048576"}, "1mbit"
			if test.sent {
				args, rate = []string{"-size=131072", "-buffer=200000"}, "128kbit"
			}
			c := dockertest.Run(t, image, flags, append(args, "-kind="+test.kind, "-addr=:8080", "-grace=2m")...)
			c.AwaitLog("serving")
			scheme := "http"
			if test.kind == "tls" {
				scheme = "https"
			}
			url := scheme + "://" + c.Addr("8080")
			slowLink(t, c, rate)

			file := filepath.Join(t.TempDir(), "body")
			curl := exec.CommandContext(nstest.Context(t), "curl", "-sSkN", "--max-time", "120", test.curl, "-o", file,
				"-w", "%{http_code} over %{http_version}, %{size_download} bytes", url)
			out := make(chan string)
			go func() {
				text, err := curl.CombinedOutput()
				out <- fmt.Sprint(string(text), " ", err)
			}()
			if test.sent {
				c.AwaitLog("sent")
			} else {
				awaitContent(t, file)
			}
			began := time.Now()
			c.Stop(2 * time.Minute)
			t.Logf("the stop took %v", time.Since(began))
			if got := <-out; got != test.want {
				t.Errorf("curl: %s; want %s", got, test.want)
			}
			if code := c.Wait(); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// awaitContent returns when something was written to the file.
func awaitContent(t *testing.T, file string) {
	t.Helper()
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(10 * time.Millisecond) {
		if info, err := os.Stat(file); err == nil && info.Size() > 0 {
			return
		}
	}
	t.Fatal("nothing was received in a minute")
}
