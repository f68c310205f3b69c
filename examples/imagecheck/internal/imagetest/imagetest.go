// SPDX-License-Identifier: MIT

// Package imagetest builds images for tests, without an engine.
package imagetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Files are the files of a layer by path. What its text says: "→ target" is a
// symbolic link, "= target" a hard link; a path that ends in / is a directory.
type Files map[string]File

// A File is one of them.
type File struct {
	Text     string
	Mode     fs.FileMode // 0: 0755
	UID, GID int
}

// Text returns files that have these contents and mode 0755.
func Text(pairs ...string) Files {
	files := Files{}
	for i := 0; i < len(pairs); i += 2 {
		files[pairs[i]] = File{Text: pairs[i+1]}
	}
	return files
}

// With returns these and other files.
func (f Files) With(other Files) Files {
	all := maps.Clone(f)
	maps.Copy(all, other)
	return all
}

// Tar returns a layer's tar stream.
func (f Files) Tar(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, path := range slices.SortedFunc(maps.Keys(f), hardLinksLast(f)) {
		file := f[path]
		h := &tar.Header{Name: path, Mode: int64(file.Mode), Uid: file.UID, Gid: file.GID, Typeflag: tar.TypeReg}
		if file.Mode == 0 {
			h.Mode = 0o755
		}
		text := file.Text
		if target, ok := strings.CutPrefix(text, "→ "); ok {
			h.Typeflag, h.Linkname, text = tar.TypeSymlink, target, ""
		} else if target, ok := strings.CutPrefix(text, "= "); ok {
			h.Typeflag, h.Linkname, text = tar.TypeLink, target, ""
		} else if strings.HasSuffix(path, "/") {
			h.Typeflag = tar.TypeDir
		}
		h.Size = int64(len(text))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, text)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func hardLinksLast(f Files) func(a, b string) int {
	key := func(path string) string {
		if strings.HasPrefix(f[path].Text, "= ") {
			return "1" + path
		}
		return "0" + path
	}
	return func(a, b string) int { return strings.Compare(key(a), key(b)) }
}

// Image builds an image for an architecture.
func Image(t testing.TB, arch string, config v1.Config, layers ...Files) v1.Image {
	t.Helper()
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: arch, Config: config, RootFS: v1.RootFS{Type: "layers"}})
	for _, files := range layers {
		text := files.Tar(t)
		layer, failed := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil },
			tarball.WithCompressionLevel(gzip.NoCompression))
		if failed != nil {
			t.Fatal(failed)
		}
		if err == nil {
			image, err = mutate.AppendLayers(image, layer)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// Save writes an image as docker save does, and returns the archive's name.
func Save(t testing.TB, image v1.Image) string {
	t.Helper()
	tag, err := name.NewTag("app:test")
	file := filepath.Join(t.TempDir(), "app.tar")
	if err == nil {
		err = tarball.WriteToFile(file, tag, image)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// Layout writes images as one index, for the platforms that they are for, and
// returns the directory's name.
func Layout(t testing.TB, images ...v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	for _, image := range images {
		if err == nil {
			err = p.AppendImage(image)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TarDir packs a directory into an archive, and returns its name.
func TarDir(t testing.TB, dir string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "layout.tar")
	w, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	archive := tar.NewWriter(w)
	if err := archive.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return file
}

var (
	mu    sync.Mutex
	built = map[string]string{}
)

// Program builds testdata/<name> of examples/imagecheck and returns the binary.
func Program(t testing.TB, name string, flags ...string) string {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	key := strings.Join(append(flags, name), " ")
	if text, ok := built[key]; ok {
		return text
	}
	file := filepath.Join(t.TempDir(), name)
	pkg := "github.com/entrypoint-go/entrypoint/examples/imagecheck/testdata/" + name
	cmd := exec.Command("go", append(append([]string{"build", "-trimpath", "-ldflags=-s -w", "-o", file}, flags...), pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	built[key] = string(text)
	return built[key]
}
