// SPDX-License-Identifier: MIT

package reaper

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entrypoint-go/entrypoint/internal/linux"
	"github.com/entrypoint-go/entrypoint/internal/nstest"
)

// The list ends with the child that is looked for, however the reads cut it.
func TestChildrenList(t *testing.T) {
	runtime.LockOSThread() // whose children they are
	defer runtime.UnlockOSThread()
	c, err := openChildren(unix.Gettid())
	if errors.Is(err, os.ErrNotExist) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	var want []int
	for range 30 { // more than one read
		cmd := exec.Command("/proc/self/exe", "-test.run=^$")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Wait()
		want = append(want, cmd.Process.Pid)
	}
	for _, none := range []int{0, 1} {
		if got := c.list(none); !slices.Equal(got, want) {
			t.Errorf("list(%d) = %d, want %d", none, got, want)
		}
	}
	for i, pid := range want {
		if got := c.list(pid); !slices.Equal(got, want[:i+1]) {
			t.Errorf("list(%d) = %d, want %d", pid, got, want[:i+1])
		}
	}
}

// Descriptors come and go, in every order and with great gaps; each pass
// sees all that are open.
func TestVisit(t *testing.T) {
	d, err := openDescriptors()
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	open := map[int]bool{}
	defer func() {
		for fd := range open {
			unix.Close(fd)
		}
	}()
	check := func(when string) {
		t.Helper()
		var seen []int
		if err := d.visit(func(fd int) { seen = append(seen, fd) }); err != nil {
			t.Fatal(err)
		}
		if !slices.IsSorted(seen) || len(slices.Compact(slices.Clone(seen))) != len(seen) {
			t.Errorf("%s: not ascending, or twice: %v", when, seen)
		}
		for fd := range open {
			if _, found := slices.BinarySearch(seen, fd); !found {
				t.Errorf("%s: %d was not visited; dense is %d", when, fd, d.dense)
			}
		}
	}
	check("at first")
	check("again")
	for i := range 3 * relearn {
		// Mostly the lowest number that is free, now and then a high one.
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, i%7/6*(100+13*i))
		if err != nil {
			t.Fatal(err)
		}
		open[fd] = true
		check(fmt.Sprint("opened ", fd))
		if i%3 == 0 {
			for fd := range open { // any
				unix.Close(fd)
				delete(open, fd)
				break
			}
			check("closed one")
		}
	}
	if d.dense == 0 {
		t.Error("dense was never learned")
	}
}

// Where a number's place in the list does not follow from it, as in this
// directory of another file system, all are listed every time.
func TestVisitUnordered(t *testing.T) {
	name := t.TempDir()
	want := []int{0, 3, 20, 4000}
	for _, fd := range want {
		if err := os.WriteFile(filepath.Join(name, fmt.Sprint(fd)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := unix.Open(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	d := newDescriptors(dir)
	defer d.close()
	for range 3 {
		var seen []int
		if err := d.visit(func(fd int) { seen = append(seen, fd) }); err != nil {
			t.Fatal(err)
		}
		if slices.Sort(seen); !slices.Equal(seen, want) {
			t.Errorf("visited %d, want %d", seen, want)
		}
	}
}

// Run ends also where its thread cannot be woken.
func TestWakeInVain(t *testing.T) {
	var s sweeper
	s.waiting.Store(int32(unix.Gettid())) // for ever: this thread is not in waitid
	s.wake(nil)
}

// What the kernel answers about a number that no process has any more, or a thread
// only, is no refusal: ESRCH, EINVAL before Linux 6.15, ENOENT since then.
func TestOpenGone(t *testing.T) {
	s := testSweeper(t)
	quit := make(chan struct{})
	defer close(quit)
	thread := make(chan int)
	go func() {
		runtime.LockOSThread()
		thread <- unix.Gettid()
		<-quit
	}()
	for _, pid := range []int{<-thread, 1 << 30} {
		if batch := s.open([]zombie{{pid: pid, fd: -1}}); len(batch) > 0 || s.noOpen {
			t.Errorf("%d: got %v, and refused: %v", pid, batch, s.noOpen)
		}
	}
}

// testSweeper is a sweeper that no Reaper uses.
func testSweeper(t *testing.T) *sweeper {
	t.Helper()
	s, err := newSweeper(&Reaper{Logger: silent}, standard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// zombieChild is a child that is dead, until wait is called.
func zombieChild(t *testing.T) (pid int, wait func()) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Wait() })
	if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, func() { cmd.Wait() }
}

// A list of children may lack some while others come and go. What is known about a
// zombie is kept as long as it is one.
func TestForget(t *testing.T) {
	s := testSweeper(t)
	pid, wait := zombieChild(t)
	s.seen[pid] = sighting{due: time.Now()}
	s.forget()
	if len(s.seen) != 1 {
		t.Error("forgotten, and still a zombie")
	}
	wait()
	s.forget()
	if len(s.seen) != 0 {
		t.Error("not forgotten")
	}
}

// A zombie that has an owner is no longer one that must be old: else it would be
// due for ever, and be looked at every 10 ms.
func TestSpare(t *testing.T) {
	s := testSweeper(t)
	s.seen[7] = sighting{due: time.Now()}
	s.spare(zombie{pid: 7}, 3)
	if len(s.seen) != 0 || s.held[7] != 3 {
		t.Errorf("seen %v, held %v", s.seen, s.held)
	}
}

// A zombie whose facts are missing has to be old, and the same.
func TestMayReap(t *testing.T) {
	s := &sweeper{held: map[int]int{}, seen: map[int]sighting{}}
	z := zombie{pid: os.Getpid(), fd: -1} // anything with a stat file
	if s.mayReap(z) {
		t.Error("may be reaped when seen for the first time")
	}
	if !s.mayReap(z) {
		t.Error("may not be reaped after its time")
	}
	s.timing = standard
	s.seen[z.pid] = sighting{start: 1}
	if s.mayReap(z) {
		t.Error("may be reaped, but an earlier process had the number")
	}
	if s.mayReap(z) {
		t.Error("may be reaped before its time")
	}
}

// Where the threads' children are known, one that is no orphan is left for
// longer.
func TestPatience(t *testing.T) {
	known, unknown := &sweeper{timing: standard, leader: new(children)}, &sweeper{timing: standard}
	for _, c := range []struct {
		what string
		s    *sweeper
		z    zombie
		want time.Duration
	}{
		{"the leader's", known, zombie{leader: true}, 30 * time.Second},
		{"another thread's", known, zombie{}, 5 * time.Minute},
		{"of a thread that is not known", unknown, zombie{}, 30 * time.Second},
	} {
		if got := c.s.patienceWith(c.z); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

// Known not to get SIGCHLD, the Reaper looks every second, whatever else it waits
// for.
func TestSweepAfter(t *testing.T) {
	const second = time.Second
	for _, c := range []struct {
		lost bool
		out  sweepResult
		want time.Duration
	}{
		{false, sweepResult{}, 40 * second},
		{true, sweepResult{}, second},
		{false, sweepResult{left: true, mayReapIn: time.Hour}, 5 * second},
		{true, sweepResult{left: true, mayReapIn: time.Hour}, second},
		{true, sweepResult{left: true, mayReapIn: second / 2}, second / 2},
		{false, sweepResult{left: true, mayReapIn: -second}, minBackoff},
		{true, sweepResult{left: true, collected: 1}, 0},
	} {
		s := &sweeper{signalsLost: c.lost}
		if got := s.sweepAfter(c.out, 5*second, 40*second); got != c.want {
			t.Errorf("signals lost: %v, %+v: got %v, want %v", c.lost, c.out, got, c.want)
		}
	}
}

// A terminator that signals nobody: signal 0 only asks.
func asking() *terminator {
	return &terminator{sent: map[identity]bool{}, denied: map[identity]bool{}, sentChild: map[int]bool{},
		ended: make(chan struct{}, 1), pause: minPause}
}

// With no descriptor left nobody knows whom a number means. Then nothing was sent,
// and it is tried again.
func TestSendFails(t *testing.T) {
	pid, _ := zombieChild(t)
	child, err := linux.ReadProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	take, free := nstest.Descriptors(t)
	var r roundResult
	a := asking()
	take()
	a.signalListed(child, &r)
	free()
	if len(a.sent) != 0 || r.fresh || len(r.denied) != 0 {
		t.Errorf("without a descriptor: sent %v, %+v", a.sent, r)
	}
	a.signalListed(child, &r)
	if len(a.sent) != 1 || !r.fresh {
		t.Errorf("with one: sent %v, %+v", a.sent, r)
	}
}

// A round that waits for a sweep, or for a log, is no long round.
func TestPauseAfterLock(t *testing.T) {
	process.Lock()
	a := asking()
	defer a.close()
	done := make(chan error)
	go func() {
		_, err := a.round()
		done <- err
	}()
	time.Sleep(500 * time.Millisecond)
	process.Unlock()
	if err := <-done; err != nil || a.pause > 10*time.Second {
		t.Errorf("%v; the next round comes after %v", err, a.pause)
	}
}

func BenchmarkPass(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			OpenMany(b, n)
			d, err := openDescriptors()
			if err != nil {
				b.Fatal(err)
			}
			defer d.close()
			for b.Loop() {
				d.visit(func(fd int) { linux.Peek(unix.P_PIDFD, fd) })
			}
		})
	}
}
