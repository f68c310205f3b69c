// SPDX-License-Identifier: MIT

package dockertest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const goImage = "golang:1.26"

// GoImage returns the name of golang:1.26, from which the examples are built,
// once the engine has it: as it is there, from its registry, or, where none can
// be reached, made of Debian and this machine's Go. The last one needs root,
// debootstrap and half a minute; the image stays for the next time.
func GoImage(t testing.TB) (image string) {
	t.Helper()
	if _, err := docker("image", "inspect", goImage); err == nil {
		return goImage
	}
	if _, err := docker("version"); err != nil {
		t.Fatalf("dockertest: the docker tests need a Docker engine: %v", err)
	}
	_, pulled := docker("pull", "--quiet", goImage)
	if pulled == nil {
		return goImage
	}
	if made := makeGoImage(t); made != nil {
		t.Fatalf("dockertest: no image %s:\n%v", goImage, errors.Join(pulled, made))
	}
	return goImage
}

func makeGoImage(t testing.TB) error {
	t.Helper()
	goroot, err := output(exec.Command("go", "env", "GOROOT"))
	if err != nil {
		return err
	}
	root := t.TempDir()
	if _, err := output(exec.Command("debootstrap", "--variant=minbase", codename(), root)); err != nil {
		return err
	}
	if err := copyCertificates(root); err != nil {
		return err
	}
	if err := warmCache(root); err != nil {
		return err
	}
	_, err = output(exec.Command("sh", "-e", "-c", importRoot, "sh", root, goroot, goImage, moduleProxy()))
	return err
}

// importRoot puts Go $2 into the root file system $1 and makes that the image
// $3, with Go where the official image has it, and with its variables and $4.
// Tests and documents stay out: fuse-overlayfs, the storage driver where there
// is no other, keeps a descriptor for every file that it has met, and with
// these it met more than the 20,000 that some machines allow. Its builds then
// failed with "no such file".
const importRoot = `
	mkdir "$1/usr/local/go"
	tar -C "$2" --exclude=testdata --exclude='*_test.go' --exclude=./test --exclude=./api --exclude=./doc -c . |
		tar -C "$1/usr/local/go" -x
	rm -rf "$1"/usr/share/doc/* "$1"/usr/share/locale/* "$1"/usr/share/zoneinfo/* "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*
	tar -C "$1" -c . | docker import --change "WORKDIR /go" --change \
		"ENV PATH=/go/bin:/usr/local/go/bin:/usr/sbin:/usr/bin:/sbin:/bin GOPATH=/go GOTOOLCHAIN=local $4" - "$3"
`

// warmCache compiles the standard library into the build cache of root's user
// root, with the flags of the examples' Dockerfiles: once, and not once an image.
func warmCache(root string) error {
	cmd := exec.Command("go", "build", "-trimpath", "net/http", "log/slog")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOCACHE="+filepath.Join(root, "root/.cache/go-build"))
	_, err := output(cmd)
	return err
}

// codename is the release of this machine's Debian, or else a recent one.
func codename() string {
	release, _ := os.ReadFile("/etc/os-release")
	for line := range strings.Lines(string(release)) {
		if name, ok := strings.CutPrefix(line, "VERSION_CODENAME="); ok {
			return strings.Trim(name, "\"\n")
		}
	}
	return "bookworm"
}

// copyCertificates copies what this machine trusts, because a module proxy
// inside a company may have a certificate from there.
func copyCertificates(root string) error {
	bundle, err := os.ReadFile(os.Getenv("SSL_CERT_FILE"))
	if err != nil {
		bundle, err = os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	}
	if err != nil {
		return fmt.Errorf("the certificates that this machine trusts: %w", err)
	}
	dir := filepath.Join(root, "etc/ssl/certs")
	return errors.Join(os.MkdirAll(dir, 0o755),
		os.WriteFile(filepath.Join(dir, "ca-certificates.crt"), bundle, 0o644))
}

// moduleProxy is this machine's choice of module proxy, for a Dockerfile's ENV.
func moduleProxy() string {
	var env strings.Builder
	for _, name := range []string{"GOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE"} {
		if value, err := output(exec.Command("go", "env", name)); err == nil && value != "" {
			fmt.Fprintf(&env, " %s=%s", name, value)
		}
	}
	return env.String()
}
