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
