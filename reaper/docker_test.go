// SPDX-License-Identifier: MIT

//go:build linux && docker

package reaper_test

// The reaper as PID 1 of an empty image whose seccomp profile refuses
// pidfd_open, as the profiles of container engines before 2021 do:
//
//	go test -tags docker -run TestDocker -v ./reaper
//
// It needs a Docker engine, and no image.

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/entrypoint-go/entrypoint/internal/dockertest"
)

func TestDocker(t *testing.T) {
	const image = "entrypoint-reaper-test"
	scratchImage(t, image)
	profile := filepath.Join(t.TempDir(), "seccomp.json")
	err := os.WriteFile(profile, []byte(`{
		"defaultAction": "SCMP_ACT_ALLOW",
		"syscalls": [{"names": ["pidfd_open"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]
	}`), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		flags   []string
		helpers string
		pidfds  bool
	}{
		{"Docker's own profile", nil, pidfdHelpers + "," + bareHelpers, true},
		{"no pidfd_open", []string{"--security-opt", "seccomp=" + profile}, bareHelpers, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"run", "--rm", "--read-only", "--cap-drop", "ALL", "--user", "65534", "--network", "none",
				"--env", "ENTRYPOINT_NSTEST_HELPER=bare", "--env", "BARE_STRESS=300,100,5s", "--env", "BARE_HELPERS=" + c.helpers}, c.flags...)
			got := checkBare(t, exec.Command("docker", append(args, image, "/test")...))
			if pidfds := got.Work.Passes > 0; pidfds != c.pidfds {
				t.Errorf("pidfds in use: %t, want %t", pidfds, c.pidfds)
			}
		})
	}
}

// scratchImage makes an image that holds these tests and nothing else.
func scratchImage(t *testing.T, name string) {
	t.Helper()
	cmd := exec.Command("go", "test", "-c", "-o", filepath.Join(t.TempDir(), "test"), "-ldflags=-s -w", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	binary, err := os.ReadFile(cmd.Args[4])
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "test", Mode: 0o755, Size: int64(len(binary))}); err != nil {
		t.Fatal(err)
	}
	w.Write(binary)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	load := exec.Command("docker", "import", "-", name)
	load.Stdin = &b
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("docker import: %v\n%s", err, out)
	}
	t.Cleanup(func() { dockertest.Docker(t, "rmi", "--force", name) })
}
