// SPDX-License-Identifier: MIT

package main

import (
	"archive/tar"
	"compress/gzip"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/examples/imagecheck/internal/imagetest"
)

var big = flag.Bool("big", false, "check an image of 500 MB")

// An image of 500 MB in three layers is checked within 5 s and 200 MB, whether
// its layers are compressed or not. It is slow to make: go test -run Big -big
func TestBig(t *testing.T) {
	if !*big {
		t.Skip("makes an image of 500 MB: -big runs it")
	}
	bin := filepath.Join(t.TempDir(), "imagecheck")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, compressed := range []bool{false, true} {
		t.Run(fmt.Sprintf("compressed=%t", compressed), func(t *testing.T) {
			archive := bigArchive(t, compressed)
			cmd := exec.Command(bin, archive)
			begin := time.Now()
			out, err := cmd.CombinedOutput()
			took := time.Since(begin)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
			t.Logf("%v, %d MB of memory, %v of CPU", took.Round(time.Millisecond), usage.Maxrss>>10, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
			if took > 5*time.Second || usage.Maxrss>>10 > 200 {
				t.Errorf("more than 5 s or 200 MB")
			}
		})
	}
}

func bigArchive(t *testing.T, compressed bool) string {
	const manifest = `[{"Config":"config.json","Layers":["0.tar","1.tar","2.tar"]}]`
	config := fmt.Sprintf(`{"os":"linux","architecture":%q,"config":{"User":"1:1","Entrypoint":["/start.sh"],"Cmd":["/srv/app/app"]}}`, runtime.GOARCH)
	app := imagetest.Program(t, "app")
	name := filepath.Join(t.TempDir(), "big.tar")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	archive := tar.NewWriter(f)
	put := func(name string, size int64, text io.Reader) {
		archive.WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o644})
		if _, err := io.Copy(archive, text); err != nil {
			t.Fatal(err)
		}
	}
	put("manifest.json", int64(len(manifest)), strings.NewReader(manifest))
	put("config.json", int64(len(config)), strings.NewReader(config))
	for n, size := range []int{250 << 20, 150 << 20, 100 << 20} {
		// Not in memory: what this process has had at most counts as its child's.
		b, err := os.Create(filepath.Join(t.TempDir(), "layer"))
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		var w io.WriteCloser = nopCloser{b}
		if compressed {
			w, _ = gzip.NewWriterLevel(b, gzip.BestSpeed)
		}
		layer := tar.NewWriter(w)
		layer.WriteHeader(&tar.Header{Name: "start.sh", Size: 26, Mode: 0o755})
		io.WriteString(layer, "#!/bin/sh -eu\nexec  \"$@\"\n\n")
		for _, file := range []string{"bin/sh", "srv/app/app"} {
			layer.WriteHeader(&tar.Header{Name: file, Size: int64(len(app)), Mode: 0o755})
			io.WriteString(layer, app)
		}
		random := rand.NewChaCha8([32]byte{byte(n)})
		piece := make([]byte, 50<<10)
		for written := 0; written < size; written += len(piece) {
			random.Read(piece[:len(piece)/3]) // compresses to a third, as programs do
			layer.WriteHeader(&tar.Header{Name: fmt.Sprintf("usr/lib/%d/%d", n, written), Size: int64(len(piece)), Mode: 0o644})
			layer.Write(piece)
		}
		layer.Close()
		w.Close()
		length, _ := b.Seek(0, io.SeekEnd)
		b.Seek(0, io.SeekStart)
		put(fmt.Sprintf("%d.tar", n), length, b)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return name
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
