// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/entrypoint-go/entrypoint/bench/internal/report"
)

// A job is what one PID 1 is started for. It travels as an argument.
type job struct {
	Subject     string
	Workload    string
	Execs       int
	Workers     int
	Orphans     int
	Descriptors int // open in PID 1
	Duration    time.Duration
}

// A workload runs below PID 1 or, when inside is set, in the process that the
// subject runs in: PID 1 itself, except under an init from outside.
type workload struct {
	inside bool
	f      func(*subject, job) (report.Figures, error)
}

var workloads = map[string]workload{
	"statuses":   {true, countStatuses},
	"throughput": {true, countExecs},
	"lifetime":   {false, timeZombies},
	"burst":      {false, timeBurst},
	"load":       {false, watchLoad},
	"idle":       {false, watchIdle},
}

// timeLimit is for a job that hangs: reapers take statuses of processes that
// somebody waits for, and that is not the end of what can go wrong.
const timeLimit = 5 * time.Minute

// resultsFile is the descriptor that figures are written to. Standard output is
// taken: some subjects print.
const resultsFile = 3

// runJob runs j under a new PID 1.
func runJob(j job) (report.Figures, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	cmd, err := self("init", j)
	if err != nil {
		return nil, err
	}
	cmd.ExtraFiles = []*os.File{write} // resultsFile
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err = cmd.Start()
	write.Close()
	if err != nil {
		return nil, fmt.Errorf("PID 1 of a new PID namespace: %w (root is needed)", err)
	}
	limit := time.AfterFunc(timeLimit, func() { cmd.Process.Kill() })
	defer limit.Stop()

	var f report.Figures
	decode := json.NewDecoder(read).Decode(&f)
	// PID 1's own status says nothing: the reaper in it may have taken the
	// driver's. The kernel ends with it whatever is left in the namespace.
	cmd.Process.Kill()
	cmd.Wait()
	if decode != nil {
		return nil, fmt.Errorf("no figures: %w; output: %s", decode, bytes.TrimSpace(output.Bytes()))
	}
	return f, nil
}

// self is this program in one of its other roles.
func self(role string, j job) (*exec.Cmd, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(j)
	return exec.Command(path, role, string(text)), err
}

func parseJob(text string) (j job) {
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		exit(fmt.Errorf("job %q: %w", text, err))
	}
	return j
}

// initMain is PID 1.
func initMain(j job) error {
	if err := mountProc(); err != nil {
		return err
	}
	s := subjects[j.Subject]
	cmd, err := self("work", j)
	if err != nil {
		return err
	}
	if s.above != nil {
		path, err := exec.LookPath(s.above[0])
		if err != nil {
			return err
		}
		return syscall.Exec(path, append(s.above, cmd.Args...), os.Environ())
	}

	if err := openDescriptors(j.Descriptors); err != nil {
		return err
	}
	if s.start != nil {
		s.start()
	}
	if workloads[j.Workload].inside {
		return workMain(j)
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{os.NewFile(resultsFile, "results")}
	if err := cmd.Start(); err != nil {
		return err
	}
	cmd.Wait()
	return nil
}

// workMain runs the workload and hands its figures back.
func workMain(j job) error {
	syscall.CloseOnExec(resultsFile)
	f, err := workloads[j.Workload].f(subjects[j.Subject], j)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.NewFile(resultsFile, "results")).Encode(f)
}

func mountProc() error {
	// Private first: shared mounts would carry the new /proc to the host.
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mount / private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}

// openDescriptors opens n descriptors, as the sockets of a busy server are.
func openDescriptors(n int) error {
	for range n {
		if _, err := syscall.Open("/dev/null", syscall.O_RDONLY|syscall.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("open %d descriptors: %w", n, err)
		}
	}
	return nil
}
