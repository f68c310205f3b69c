// SPDX-License-Identifier: MIT

package pid1

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/drain"
	"github.com/entrypoint-go/entrypoint/internal/linux"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// RunIsolated is Run with a minimal init as PID 1: it starts this program once
// more, with the same arguments and environment, and the servers run in that child.
// PID 1 passes signals on as a [Child] gets them, collects orphans, and returns
// the child's status. It is for programs whose C libraries fork and wait by
// themselves: to those, and to syscall.Wait4(-1, …), the orphans of a container are
// unknown children.
//
// What main does before RunIsolated is done in both processes, so call it early.
// Before steps and hooks run in the child only, OnReap in PID 1 only. Where the
// process is not PID 1, RunIsolated is Run.
//
// The end of ctx is a stop for the child, too. The child has four fifths of
// Shutdown.Grace for its own stop. If it still runs when nine tenths are over, it
// gets SIGKILL; what it leaves behind is ended as in Run.
func (a *App) RunIsolated(ctx context.Context, srv ...Server) error {
	if !IsInit() {
		if grace, err := time.ParseDuration(os.Getenv(isolatedGrace)); err == nil {
			os.Unsetenv(isolatedGrace) // it is not for what this process starts
			a.Shutdown.Grace = grace
		}
		return a.Run(ctx, srv...)
	}
	return a.once(func() error { return a.isolate(ctx, srv) })
}

// isolatedGrace is the environment variable by which PID 1 tells the child its
// Shutdown.Grace.
const isolatedGrace = "ENTRYPOINT_ISOLATED_GRACE"

// isolate runs the servers in a child process that gets every signal and stops
// itself. It is the one server of an App for PID 1, without the user's steps.
func (a *App) isolate(ctx context.Context, srv []Server) error {
	path, err := os.Executable()
	if err != nil {
		return fmt.Errorf("pid1: App.RunIsolated: the path of this program: %w", err)
	}
	child := &Child{Cmd: &exec.Cmd{
		Path: path, Args: os.Args, Env: os.Environ(),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}}
	plan, err := a.Shutdown.Plan(0, 0)
	if err == nil { // else the child reports it
		child.Cmd.Env = append(child.Cmd.Env, isolatedGrace+"="+(plan.Grace*4/5).String())
	}
	init := &App{Signals: a.Signals, Logger: a.log(), OnReport: func(*shutdown.Report) {}}
	init.Shutdown.Logger, init.Shutdown.Grace = a.log(), plan.Grace
	init.Shutdown.Reserve = plan.Grace / 60 // of 95 %: for the steps after the child's, and one that may be added

	servers, _ := newServers([]Server{child})
	s := newStop(ctx, init, servers)
	s.plan, s.childEnded = plan, child.hasEnded
	defer init.watch(s)()
	a.caught = append(a.caught, init.caught...)
	ignoreContext := context.AfterFunc(ctx, func() { s.contextEnded(context.Cause(ctx)) })
	defer ignoreContext()
	defer a.reap()()
	if s.startServing(delay{}, false) {
		(*servers)[0].serve(s)
	}
	<-s.begun
	err = init.stop(s, nil)
	a.deadline = init.deadline
	child.mu.Lock()
	never := child.state == childNew || child.state == childCancelled
	child.mu.Unlock()
	if never { // else its status tells
		users, _ := newServers(srv)
		err = join(append(users.interrupted(s.reason()), err)...)
	}
	return err
}

// reap runs the reaper if it has anything to do, until the result is called.
func (a *App) reap() (end func()) {
	if !IsInit() && !a.Reaper.Subreaper {
		return func() {}
	}
	// The Reaper does this too, but later: what is orphaned before that is lost to it.
	// Where it cannot, it says so.
	release := func() {}
	if !IsInit() {
		release, _ = linux.Adopt()
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = a.Reaper.Run(ctx) // which has logged why it cannot run
	}()
	return func() {
		cancel()
		running := call{done: done}
		running.endsWithin(a.atTheEnd(shortWait)) // if not, a function of the user's hangs in it
		release()
	}
}

// The network namespace of a container ends with PID 1, and with it what the
// kernel still has for clients that read slowly. So PID 1 waits for them. Only
// the kernel knows of sockets that are closed; it does not know whose they were,
// and the namespace may be shared with other containers or with the host. But it
// knows their ports. See docs/design.md, "What clients have not received yet".

// A delivery waits until clients have received what was sent to them.
type delivery struct {
	addrs []*net.TCPAddr // on which we have listened
}

// newDelivery notes on which addresses the servers listen, and the processes of
// this PID namespace. It is for the beginning of a stop: later they have closed
// their listeners.
func newDelivery(servers []*serverState) delivery {
	var d delivery
	for _, p := range servers {
		if s, ok := p.server.(interface{ boundTo() net.Addr }); ok {
			if addr, ok := s.boundTo().(*net.TCPAddr); ok {
				d.addrs = append(d.addrs, addr)
			}
		}
	}
	var others []*net.TCPAddr
	c := goCall("listeners", func() error { others = otherListeners(d.addrs); return nil }, nil)
	if c.endsWithin(shortWait) { // listing descriptors may take longer
		d.addrs = append(d.addrs, others...)
	}
	return d
}

// otherListeners returns the addresses of Commands, of Funcs and of servers of the
// user's types. It looks at descriptors only if somebody in this network namespace
// listens on another address than those known.
func otherListeners(known []*net.TCPAddr) (others []*net.TCPAddr) {
	unknown := map[uint64]*net.TCPAddr{}
	for _, s := range linux.TCPListeners() {
		if !listens(known, &s.Local) {
			unknown[s.Inode] = &s.Local
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	linux.EachSocketInode(func(inode uint64) (more bool) {
		if addr := unknown[inode]; addr != nil {
			others = append(others, addr)
			delete(unknown, inode)
		}
		return len(unknown) > 0
	})
	return others
}

// listens reports whether a socket at the address local belongs to one of the
// listeners.
func listens(listeners []*net.TCPAddr, local *net.TCPAddr) bool {
	for _, l := range listeners {
		if l.Port == local.Port && (l.IP.IsUnspecified() || l.IP.Equal(local.IP)) {
			return true
		}
	}
	return false
}

// givesUp is how often a client may leave a packet without an answer: four
// retransmissions take 3 s at least. A client that is there but does not read
// answers.
const givesUp = 4

// left returns the sockets whose clients have not received all, and those whose
// clients no longer answer. The end of a stream alone is sent twice and no more:
// most clients that have vanished owe no answer but to that. An error is that no
// descriptor is free.
func (d delivery) left() (l look, err error) {
	unsent, err := linux.UnsentTCP()
	for _, s := range unsent {
		switch {
		case !listens(d.addrs, &s.Local):
		case s.Unanswered >= givesUp || s.Unsent == 1 && s.Unanswered > 0:
			l.gone = append(l.gone, s)
		default:
			l.left = append(l.left, s)
		}
	}
	return l, err
}

// Bounds of the pause between two looks. A look at many sockets takes time.
const (
	minLookPause = time.Millisecond
	maxLookPause = 50 * time.Millisecond
	maxPause     = 250 * time.Millisecond // after looks that take 25 ms or more
	tellAfter    = 50 * time.Millisecond
)

// await is the step "bytes".
func (d delivery) await(ctx context.Context, a *App) error {
	cutoff, end := drain.Cutoff(ctx)
	defer end()
	looking, start := cutoff, time.Now()
	var left []*linux.TCPSocket // of the last look
	for pause, over, told := minLookPause, false, false; ; pause = min(2*pause, maxLookPause) {
		began := time.Now()
		l, err := d.look(looking)
		switch {
		case err == nil && len(l.left) == 0:
			if len(l.gone) > 0 {
				a.log().Warn("clients that no longer answer were not waited for", "unreceived", describe(l.gone))
			}
			return nil
		case err == nil:
			left = l.left
		case !linux.NoDescriptor(err): // it took too long
			over = true
		}
		if over && left == nil {
			a.log().Warn("whether clients have received all was not known in time", "took", time.Since(began), "error", err)
			return nil
		}
		if over {
			return fmt.Errorf("not received by clients: %s: %w", describe(left), cutoff.Err())
		}
		if !told && left != nil && time.Since(start) > tellAfter {
			told = true
			a.log().Info("waiting for clients to receive what was sent", "unreceived", describe(left))
		}
		select {
		case <-time.After(min(max(pause, 10*time.Since(began)), maxPause)):
		case <-cutoff.Done(): // time for a last look
			over = true
			looking, end = drain.Cutoff(ctx)
			defer end()
		}
	}
}

// A look is what left returns.
type look struct{ left, gone []*linux.TCPSocket }

// look is left, unless ctx ends first, whose error it then returns: a look at very many
// sockets takes time.
func (d delivery) look(ctx context.Context) (l look, err error) {
	type result struct {
		look
		err error
	}
	done := make(chan result, 1)
	go func() {
		l, err := d.left()
		done <- result{l, err}
	}()
	select {
	case r := <-done:
		return r.look, r.err
	case <-ctx.Done():
		return look{}, ctx.Err()
	}
}

// maxDescribed bounds the sockets that a line names.
const maxDescribed = 10

func describe(sockets []*linux.TCPSocket) string {
	var list []string
	for i, s := range sockets {
		if i == maxDescribed {
			list = append(list, fmt.Sprintf("and %d more", len(sockets)-i))
			break
		}
		list = append(list, fmt.Sprintf("%s (%d bytes)", &s.Peer, s.Unsent))
	}
	return strings.Join(list, ", ")
}
