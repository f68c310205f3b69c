// SPDX-License-Identifier: MIT

//go:build linux && kernel

package reaper_test

// The reaper as PID 1 on other kernels than the one that runs the tests:
//
//	go test -tags kernel -run 'TestMachine|TestGVisor' -timeout 30m -v ./reaper
//
// TestMachine boots Debian's Linux 6.1 under qemu, for amd64 and arm64, with
// the test binary as /init. It needs qemu-system-x86, qemu-system-arm, and apt
// with a Debian 12 source; it downloads the kernels to the user's cache
// directory (os.UserCacheDir) and changes nothing else. TestGVisor needs
// runsc, of any version, and root. What is missing fails the test.

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMachine(t *testing.T) {
	t.Parallel()
	for _, m := range []struct {
		arch string
		qemu []string
		tty  string
	}{
		{"amd64", []string{"qemu-system-x86_64"}, "ttyS0"},
		{"arm64", []string{"qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72"}, "ttyAMA0"},
	} {
		t.Run(m.arch, func(t *testing.T) {
			kernel := debianKernel(t, m.arch)
			initrd := filepath.Join(t.TempDir(), "initrd")
			if err := os.WriteFile(initrd, cpio("init", testBinary(t, m.arch)), 0o644); err != nil {
				t.Fatal(err)
			}
			// The kernel passes what it does not know on to /init, as environment.
			line := fmt.Sprintf("console=%s quiet panic=-1 ENTRYPOINT_NSTEST_HELPER=machine BARE_STRESS=96,40,5s BARE_HELPERS=%s,%s",
				m.tty, pidfdHelpers, bareHelpers)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, m.qemu[0], append(m.qemu[1:], "-m", "2048", "-smp", "2", "-nographic", "-no-reboot",
				"-kernel", kernel, "-initrd", initrd, "-append", line)...)
			got := checkBare(t, cmd)
			if !strings.HasPrefix(got.Kernel, "6.1.") {
				t.Errorf("kernel %s, want 6.1", got.Kernel)
			}
			if got.Work.Passes == 0 {
				t.Error("no pass over the descriptors: are there no pidfds?")
			}
		})
	}
}

func TestGVisor(t *testing.T) {
	t.Parallel() // it mostly waits
	binary := filepath.Join(t.TempDir(), "reaper.test")
	if err := os.WriteFile(binary, testBinary(t, "amd64"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "runsc", "--rootless=false", "--network=none", "--platform=ptrace", "do", binary)
	cmd.Env = append(os.Environ(), "ENTRYPOINT_NSTEST_HELPER=bare", "BARE_STRESS=200,100,10s", "BARE_HELPERS="+bareHelpers)
	got := checkBare(t, cmd)
	if got.Work.Passes != 0 {
		t.Error("there are pidfds: this run does not show what it is for")
	}
}

// testBinary compiles these tests.
func testBinary(t *testing.T, arch string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "test")
	cmd := exec.Command("go", "test", "-c", "-o", file, "-ldflags=-s -w", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	binary, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// debianKernel returns the path of Debian's newest 6.1 kernel for machines in
// a cloud, which needs no modules to boot. apt works in directories of its
// own, so that a foreign architecture needs no change to the system.
func debianKernel(t *testing.T, arch string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "entrypoint-kernels", arch)
	if found, _ := filepath.Glob(filepath.Join(dir, "boot/vmlinuz-*")); len(found) > 0 {
		return found[0]
	}
	lists, archives := filepath.Join(dir, "lists/partial"), filepath.Join(dir, "archives/partial")
	for _, d := range []string{lists, archives} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	status := filepath.Join(dir, "status")
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	apt := func(command string, args ...string) string {
		cmd := exec.Command(command, append([]string{
			"-oAPT::Architecture=" + arch, "-oAPT::Architectures=" + arch, "-oAPT::Sandbox::User=root",
			"-oDir::State::lists=" + filepath.Dir(lists), "-oDir::State::status=" + status, "-oDir::Cache=" + dir}, args...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, out)
		}
		return string(out)
	}
	apt("apt-get", "-q", "update")
	var names []string
	for _, name := range strings.Fields(apt("apt-cache", "pkgnames", "linux-image-6.1.0-")) {
		if strings.HasSuffix(name, "-cloud-"+arch) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		t.Fatal("apt knows no linux-image-6.1.0-*-cloud-" + arch + ": is there a Debian 12 source?")
	}
	slices.SortFunc(names, func(a, b string) int { return len(a) - len(b) + strings.Compare(a, b) })
	apt("apt-get", "-q", "download", names[len(names)-1])
	debs, _ := filepath.Glob(filepath.Join(dir, "*.deb"))
	if len(debs) != 1 {
		t.Fatalf("downloaded: %v, want one package", debs)
	}
	if out, err := exec.Command("dpkg", "-x", debs[0], dir).CombinedOutput(); err != nil {
		t.Fatalf("dpkg -x: %v\n%s", err, out)
	}
	found, _ := filepath.Glob(filepath.Join(dir, "boot/vmlinuz-*"))
	if len(found) == 0 {
		t.Fatalf("no kernel in %s", debs[0])
	}
	return found[0]
}

// cpio packs one executable file as an initial RAM file system, in the "newc"
// format (Documentation/driver-api/early-userspace/buffer-format.rst).
func cpio(name string, content []byte) []byte {
	var b bytes.Buffer
	pad := func() {
		for b.Len()%4 != 0 {
			b.WriteByte(0)
		}
	}
	for _, f := range []struct {
		name    string
		mode    int
		content []byte
	}{{name, 0o100755, content}, {"TRAILER!!!", 0, nil}} {
		// inode, mode, uid, gid, links, time, size, four device numbers,
		// length of the name, checksum
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
			1, f.mode, 0, 0, 1, 0, len(f.content), 0, 0, 0, 0, len(f.name)+1, 0)
		b.WriteString(f.name)
		b.WriteByte(0)
		pad()
		b.Write(f.content)
		pad()
	}
	return b.Bytes()
}
