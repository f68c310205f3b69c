// SPDX-License-Identifier: MIT

//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"go.uber.org/goleak"
)

// The test binary is the program itself, in all its roles.
func TestMain(m *testing.M) {
	nstest.Main(map[string]func() int{"children": func() int { main(); return 0 }})
	if os.Getenv("CHILDREN_ROLE") != "" {
		main()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// As PID 1, under load: every status arrives, and no zombie stays.
func TestChildren(t *testing.T) {
	cmd := nstest.Command(t, "children")
	cmd.Env = append(cmd.Env, "PORT="+freePort(t))
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	base := "http://127.0.0.1:" + awaitServing(t, stderr)

	hammer(t, base)
	awaitNoZombies(t, base)

	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("SIGTERM: %v, want exit status 0", err)
	}
}

// hammer asks for 100 commands, 8 at a time.
func hammer(t *testing.T, base string) {
	t.Helper()
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for range 100 {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if got, err := get(base + "/run"); err != nil || got != "7\n" {
				t.Errorf("/run: got %q, %v, want 7", got, err)
			}
		})
	}
	wg.Wait()
}

// awaitNoZombies waits for the last orphans, which live for a moment.
func awaitNoZombies(t *testing.T, base string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		got, err := get(base + "/zombies")
		if err == nil && got == "0\n" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("/zombies: got %q, %v, want 0", got, err)
		}
	}
}

func get(url string) (string, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s", response.Status)
	}
	return string(body), err
}

// freePort is a port that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// awaitServing reads the log until the server listens, and returns its port.
func awaitServing(t *testing.T, log io.Reader) (port string) {
	t.Helper()
	pattern := regexp.MustCompile(`serving servers="?http :(\d+)`)
	var seen strings.Builder
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		fmt.Fprintln(&seen, lines.Text())
		if m := pattern.FindStringSubmatch(lines.Text()); m != nil {
			go io.Copy(io.Discard, log)
			return m[1]
		}
	}
	t.Fatalf("the server did not start:\n%s", &seen)
	return ""
}
