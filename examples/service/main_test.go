// SPDX-License-Identifier: MIT

//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
)

func TestMain(m *testing.M) {
	nstest.Main(map[string]func() int{"service": func() int { return run(os.Args[1:]) }})
	os.Exit(m.Run())
}

// service is the command, as PID 1, with its database in dir.
func service(t *testing.T, dir string, args ...string) *exec.Cmd {
	cmd := nstest.Command(t, "service", args...)
	cmd.Env = append(cmd.Env, "DATABASE="+filepath.Join(dir, "test.db"))
	return cmd
}

func runService(t *testing.T, dir string, args ...string) (code int, output string) {
	t.Helper()
	cmd := service(t, dir, args...)
	out, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(out)
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func TestCommands(t *testing.T) {
	dir, port := t.TempDir(), freePort(t)
	tests := []struct {
		args []string
		code int
		want string
	}{
		{nil, 2, "usage: service"},
		{[]string{"dance"}, 2, `no command "dance"`},
		{[]string{"serve", "--port", "x"}, 2, "invalid value"},
		{[]string{"serve", "now"}, 2, `unexpected argument "now"`},
		{[]string{"serve", "--help"}, 0, "-port"},
		{[]string{"serve", "--port", port}, 1, "run service migrate"},
		{[]string{"healthcheck", "--port", port}, 1, "connection refused"},
		{[]string{"inspect"}, 0, "PID"},
		{[]string{"migrate"}, 0, ""},
		{[]string{"migrate"}, 0, ""},
	}
	for _, test := range tests {
		code, out := runService(t, dir, test.args...)
		if code != test.code || !strings.Contains(out, test.want) {
			t.Errorf("service %q: exit code %d, want %d and %q in:\n%s", test.args, code, test.code, test.want, out)
		}
	}
}

// TestServe: a note survives a stop, whose exit code is 0; the health check
// follows the readiness.
func TestServe(t *testing.T) {
	dir, port := t.TempDir(), freePort(t)
	if code, out := runService(t, dir, "migrate"); code != 0 {
		t.Fatalf("migrate: exit code %d:\n%s", code, out)
	}
	for round := range 2 {
		cmd := service(t, dir, "serve", "--port", port)
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		log := bufio.NewReader(stderr)
		for line := ""; !strings.Contains(line, "serving"); {
			if line, err = log.ReadString('\n'); err != nil {
				t.Fatalf("not serving: %v", err)
			}
		}
		if code, out := runService(t, dir, "healthcheck", "--port", port); code != 0 {
			t.Errorf("healthcheck: exit code %d:\n%s", code, out)
		}
		url := "http://127.0.0.1:" + port + "/notes"
		res, err := http.Post(url, "text/plain", strings.NewReader(fmt.Sprint("note ", round)))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res, err = http.Get(url); err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if want := fmt.Sprint("note ", round); !bytes.Contains(body, []byte("note 0")) || !bytes.Contains(body, []byte(want)) {
			t.Errorf("round %d: notes %s", round, body)
		}
		cmd.Process.Signal(syscall.SIGTERM)
		rest, _ := io.ReadAll(log)
		if err := cmd.Wait(); err != nil {
			t.Errorf("stop: %v:\n%s", err, rest)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestMigrateInterrupted: a stop in the middle of a step undoes that step,
// keeps those before it, and is a failure of the job.
func TestMigrateInterrupted(t *testing.T) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	endless := "CREATE TABLE endless AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT i FROM n WHERE i < 0"
	steps := []string{"CREATE TABLE one (i)", endless, "CREATE TABLE three (i)"}

	if err := migrateTo(t.Context(), db, steps[:1]); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // the second step never ends
	defer cancel()
	if err := migrateTo(ctx, db, steps); err == nil || !strings.Contains(err.Error(), "step 2 of 3") {
		t.Errorf("err %v, want one of step 2", err)
	}
	if n, err := version(t.Context(), db); n != 1 || err != nil {
		t.Errorf("version %d, %v, want 1", n, err)
	}
}

// TestMigrateStopped: the job as a process. Another process holds the
// database's lock, so that it has to wait.
func TestMigrateStopped(t *testing.T) {
	dir := t.TempDir()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "test.db")+"?_txlock=exclusive")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()

	cmd := service(t, dir, "migrate")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	log := bufio.NewReader(stderr)
	for line := ""; !strings.Contains(line, "serving"); {
		if line, err = log.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	cmd.Process.Signal(syscall.SIGTERM)
	rest, _ := io.ReadAll(log)
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 143 || !bytes.Contains(rest, []byte("interrupted: received SIGTERM")) {
		t.Errorf("exit code %d, want 143 and a word about the interruption:\n%s", code, rest)
	}
}
