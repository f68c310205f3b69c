// SPDX-License-Identifier: MIT

package image_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"

	"github.com/entrypoint-go/entrypoint/examples/imagecheck/internal/image"
	"github.com/entrypoint-go/entrypoint/examples/imagecheck/internal/imagetest"
)

func none(string) bool { return false }

func open(t testing.TB, name string) *image.Archive {
	t.Helper()
	a, err := image.Open(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func files(t testing.TB, name string, keep func(string) bool) (*image.FS, error) {
	t.Helper()
	f, err := open(t, name).Images[0].Files(keep, nil)
	if err == nil {
		t.Cleanup(func() { f.Close() })
	}
	return f, err
}

func layers(t testing.TB, list ...imagetest.Files) (*image.FS, error) {
	t.Helper()
	return files(t, imagetest.Save(t, imagetest.Image(t, "amd64", v1.Config{}, list...)), none)
}

// Upper layers replace, hide and extend lower ones as engines let them do.
func TestLayers(t *testing.T) {
	lower := imagetest.Text("bin", "→ usr/bin", "usr/bin/sh", "old", "etc/passwd", "old", "opt/a", "1", "opt/b", "1", "srv/x", "1",
		"dir/file", "1", "var/", "", "gone", "1", "up/x", "1")
	upper := imagetest.Text("bin/sh", "new", "bin/bash", "= bin/sh", ".wh.gone", "", "opt/.wh..wh..opq", "", "opt/c", "2",
		"srv", "→ opt", "dir", "now a file", "var/run", "→ /run", "run/pid", "2", "./up/y", "2", "/abs", "2", "etc/.wh.none", "")
	f, err := layers(t, lower, upper)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"usr/bin/sh": "new", "bin/sh": "new", "bin/bash": "new", "etc/passwd": "old", "opt/c": "2", "srv/c": "2", "dir": "now a file",
		"var/run/pid": "2", "up/x": "1", "up/y": "2", "abs": "2",
		"gone": "", "opt/a": "", "srv/x": "", "dir/file": "", ".wh.gone": "", "none": "",
	} {
		text, err := fs.ReadFile(f, name)
		if string(text) != want || (err != nil) != (want == "") {
			t.Errorf("%s: got %q, %v; want %q", name, text, err, want)
		}
	}
	if real, err := f.Real("bin/sh"); real != "usr/bin/sh" || err != nil {
		t.Errorf("real path of bin/sh: %q, %v", real, err)
	}
	if link, err := f.ReadLink("bin"); link != "usr/bin" || err != nil {
		t.Errorf("bin: %q, %v", link, err)
	}
	if err := fstest.TestFS(f, "usr/bin/sh", "opt/c", "up/x"); err != nil {
		t.Error(err)
	}
}

// A whiteout hides what lower layers have, wherever it stands in its own layer.
func TestWhiteoutOrder(t *testing.T) {
	f, err := layers(t, imagetest.Text("opt/z", "1"), imagetest.Text("opt/.a", "2", "opt/.wh..wh..opq", ""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Stat("opt/z"); err == nil {
		t.Error("opt/z is there")
	}
	if _, err := f.Stat("opt/.a"); err != nil {
		t.Error(err)
	}
}

// Links lead to nothing outside of the image, and those in circles to an error.
func TestLinks(t *testing.T) {
	f, err := layers(t, imagetest.Text("up", "→ ../../../../etc/passwd", "a", "→ b", "b", "→ a", "self", "→ self/x", "etc/passwd", "the image's", "d/e/f", "→ ../../etc/passwd"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"up", "d/e/f"} {
		if text, _ := fs.ReadFile(f, name); string(text) != "the image's" {
			t.Errorf("%s: %q", name, text)
		}
	}
	for _, name := range []string{"a", "self", "a/x"} {
		if _, err := f.Stat(name); err == nil || !strings.Contains(err.Error(), "circle") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What cannot be an image is refused with a reason.
func TestBadLayers(t *testing.T) {
	for name, tt := range map[string]struct {
		files imagetest.Files
		want  string
	}{
		"out":            {imagetest.Text("../x", "1"), "leads out of the image"},
		"out in the end": {imagetest.Text("a/../../x", "1"), "leads out of the image"},
		"below a file":   {imagetest.Text("a", "1", "a/b", "2"), "no directory"},
		"through a loop": {imagetest.Text("a", "→ a", "a/b", "2"), "circle"},
		"hard link":      {imagetest.Text("a", "= none"), "hard link"},
		"hard directory": {imagetest.Text("b/", "", "a", "= b"), "hard link to the directory"},
		"hard outside":   {imagetest.Text("a", "= ../../etc/passwd"), "hard link"},
		"long name":      {imagetest.Text(strings.Repeat("long/", 1000), ""), "more than 4096 bytes"},
		"long link":      {imagetest.Text("a", "→ "+strings.Repeat("long/", 1000)), "more than 4096 bytes"},
	} {
		if _, err := layers(t, tt.files); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, tt.want)
		}
	}
}

func TestBadArchives(t *testing.T) {
	good, err := os.ReadFile(imagetest.Save(t, imagetest.Image(t, "amd64", v1.Config{}, imagetest.Text("app", strings.Repeat("app", 10000)))))
	if err != nil {
		t.Fatal(err)
	}
	archive := func(pairs ...string) []byte { return imagetest.Text(pairs...).Tar(t) }
	hash := fmt.Sprintf("sha256:%064d", 1)
	blob := "blobs/sha256/" + hash[7:]
	index := func(mediaType string) string {
		return fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"size":2,"digest":%q}]}`, mediaType, hash)
	}
	const manifest = "application/vnd.oci.image.manifest.v1+json"
	for name, tt := range map[string]struct {
		archive []byte
		want    string
	}{
		"empty":         {nil, "neither index.json"},
		"text":          {[]byte("hello, this is no archive\n"), "not a tar archive"},
		"zeros":         {make([]byte, 4096), "neither index.json"},
		"cut":           {good[:len(good)-1024-500], "EOF"},
		"gzip of text":  {[]byte("\x1f\x8b\x08\x00broken"), "EOF"},
		"other archive": {archive("hello", "x"), "neither index.json"},
		"bad JSON":      {archive("manifest.json", "{"), "manifest.json"},
		"no config":     {archive("manifest.json", `[{"Config":"../../etc/passwd","Layers":[]}]`), "not in the archive"},
		"no layer":      {archive("manifest.json", `[{"Config":"c","Layers":["l"]}]`, "c", `{"config":{}}`), "not in the archive"},
		"layer is text": {archive("manifest.json", `[{"Config":"c","Layers":["c"]}]`, "c", `{"config":{"Cmd":["`+strings.Repeat("x", 600)+`"]}}`), "layer 1 of 1"},
		"circle":        {archive("manifest.json", "→ a", "a", "→ manifest.json"), "circle"},
		"no images":     {archive("manifest.json", "[]"), "no image"},
		"absent":        {archive("index.json", index(manifest)), "which it lacks"},
		"damaged":       {archive("index.json", index(manifest), blob, "{}"), "is damaged"},
		"huge index":    {archive("index.json", strings.Repeat(" ", 9<<20)), "more than 8388608 bytes"},
		"bad index":     {archive("index.json", "[]"), "index"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "a.tar")
			if err := os.WriteFile(file, tt.archive, 0o600); err != nil {
				t.Fatal(err)
			}
			for _, stdin := range []io.Reader{nil, bytes.NewReader(tt.archive)} {
				from := file
				if stdin != nil {
					from = "-"
				}
				a, err := image.Open(from, stdin)
				if err == nil {
					_, err = a.Images[0].Files(none, nil)
					a.Close()
				}
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%s: got %v, want %q in it", from, err, tt.want)
				}
			}
		})
	}
}

// An archive that ends before the last byte that is needed is an error.
func TestCutArchive(t *testing.T) {
	text, err := os.ReadFile(imagetest.Save(t, imagetest.Image(t, "amd64", v1.Config{}, imagetest.Text("app", "app", "b", "b"))))
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n <= bytes.LastIndexByte(text, ']'); n += 97 {
		a, err := image.Open("-", bytes.NewReader(text[:n]))
		if err == nil {
			_, err = a.Images[0].Files(none, nil)
			a.Close()
		}
		if err == nil {
			t.Errorf("%d bytes of %d: no error", n, len(text))
		}
	}
}

// An OCI layout that is a directory leads to no file outside of it.
func TestFolderStaysInside(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "index.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := image.Open(dir, nil); err == nil || !strings.Contains(err.Error(), "escapes") {
		t.Errorf("got %v", err)
	}
}

// A file of which a header says that it is huge is not read, and others are.
func TestHugeFile(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	w.WriteHeader(&tar.Header{Name: "manifest.json", Size: 1 << 40, Mode: 0o644})
	w.Flush()
	if _, err := image.Open("-", &b); err == nil {
		t.Error("no error")
	}
}

// A layer without an end ends with an error, and what was kept of it is bounded.
func TestEndlessLayer(t *testing.T) {
	defer image.Limits(10000, 500000)()
	for name, tt := range map[string]struct {
		length int // of names
		want   string
	}{
		"short names": {20, "more than 10000 files"},
		"long names":  {100, "more than 500000 bytes"},
	} {
		i := image.Image{Layers: []image.Layer{func() (io.ReadCloser, error) { return io.NopCloser(&endless{length: tt.length}), nil }}}
		_, err := i.Files(none, nil)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, tt.want)
		}
	}
	if _, err := image.Open("-", &endless{length: 20, last: 20000}); err == nil || !strings.Contains(err.Error(), "more than 10000 files") {
		t.Errorf("archive: got %v", err)
	}
}

// endless is a tar stream of empty files with different names.
type endless struct {
	length, n int
	last      int // 0: there is none
	left      []byte
}

func (e *endless) Read(b []byte) (int, error) {
	if e.last > 0 && e.n > e.last {
		return 0, io.EOF
	}
	if len(e.left) == 0 {
		header := make([]byte, 512)
		copy(header, fmt.Sprintf("%0*d", e.length, e.n))
		e.n++
		copy(header[100:], "0000644\x000000000\x000000000\x0000000000000\x0000000000000\x00        0")
		sum := 0
		for _, c := range header {
			sum += int(c)
		}
		copy(header[148:], fmt.Sprintf("%06o\x00 ", sum))
		e.left = header
	}
	n := copy(b, e.left)
	e.left = e.left[n:]
	return n, nil
}

// An index without the images of some platforms, and with attestations, is what
// engines and BuildKit write.
func TestIndex(t *testing.T) {
	dir := imagetest.Layout(t, imagetest.Image(t, "amd64", v1.Config{User: "1"}), imagetest.Image(t, "arm64", v1.Config{User: "2"}), imagetest.Image(t, "s390x", v1.Config{}))
	text, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(text, &index); err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(dir, "blobs/sha256", index.Manifests[1].Digest.Hex))
	index.Manifests[1].Platform = &v1.Platform{OS: "linux", Architecture: "arm64"}
	index.Manifests[2].Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest"}
	if text, err = json.Marshal(index); err == nil {
		err = os.WriteFile(filepath.Join(dir, "index.json"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir, imagetest.TarDir(t, dir)} {
		a := open(t, name)
		if len(a.Images) != 1 || a.Images[0].Config.User != "1" || a.Images[0].Platform.String() != "linux/amd64" || !slices.Equal(a.Absent, []string{"linux/arm64"}) {
			t.Errorf("got %+v, absent %q", a.Images, a.Absent)
		}
	}
}

// Archives may be compressed, and layers too.
func TestCompressed(t *testing.T) {
	saved, err := os.ReadFile(imagetest.Save(t, imagetest.Image(t, "amd64", v1.Config{}, imagetest.Text("app", "app"))))
	if err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	w.Write(saved)
	w.Close()
	z, _ := zstd.NewWriter(nil)
	for name, text := range map[string][]byte{"gzip": zipped.Bytes(), "zstd": z.EncodeAll(saved, nil)} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, from := range []string{file, "-"} {
			a, err := image.Open(from, bytes.NewReader(text))
			if err != nil {
				t.Errorf("%s, %s: %v", name, from, err)
				continue
			}
			a.Close()
		}
	}

	layer := z.EncodeAll(imagetest.Text("app", "app").Tar(t), nil)
	archive := imagetest.Text("manifest.json", `[{"Config":"c","Layers":["l"]}]`, "c", `{"config":{}}`, "l", string(layer)).Tar(t)
	a, err := image.Open("-", bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	f, err := a.Images[0].Files(none, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if text, err := fs.ReadFile(f, "app"); string(text) != "app" {
		t.Errorf("zstd layer: %q, %v", text, err)
	}
}

// Nothing but one temporary file is written, and that is gone before it is used.
func TestWritesNothing(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	name := imagetest.Save(t, imagetest.Image(t, "amd64", v1.Config{}, imagetest.Text("app", "app")))
	stdin, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	a, err := image.Open("-", stdin)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	f, err := a.Images[0].Files(func(base string) bool { return base == "app" }, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list, err := os.ReadDir(temp)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range list {
		if strings.HasPrefix(entry.Name(), "imagecheck-") {
			t.Errorf("%s is there", entry.Name())
		}
	}
	if text, err := fs.ReadFile(f, "app"); string(text) != "app" || err != nil {
		t.Errorf("got %q, %v", text, err)
	}
}

// Old docker save links layers that are equal.
func TestLinkedLayer(t *testing.T) {
	layer := string(imagetest.Text("app", "app").Tar(t))
	archive := imagetest.Text("manifest.json", `[{"Config":"c","RepoTags":["a:1"],"Layers":["x/layer.tar","y/layer.tar"]}]`,
		"c", `{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/app"]}}`, "x/layer.tar", layer, "y/layer.tar", "→ ../x/layer.tar").Tar(t)
	a, err := image.Open("-", bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	f, err := a.Images[0].Files(none, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Stat("app"); err != nil || a.Images[0].Name != "a:1" {
		t.Errorf("got %v, %q", err, a.Images[0].Name)
	}
}

// FuzzLayer reads any bytes as a layer, and everything that is in it.
func FuzzLayer(f *testing.F) {
	f.Add(imagetest.Text("bin", "→ usr/bin", "usr/bin/sh", "x", "bin/a", "= bin/sh", "opt/.wh..wh..opq", "", ".wh.x", "").Tar(f))
	f.Add([]byte("\x1f\x8b\x08\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		i := image.Image{Layers: []image.Layer{
			func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil },
			func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil },
		}}
		files, err := i.Files(func(base string) bool { return base == "sh" }, nil)
		if err != nil {
			return
		}
		defer files.Close()
		fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
			files.Real(name)
			if err == nil && d.Type().IsRegular() {
				info, _ := d.Info()
				text, err := fs.ReadFile(files, name)
				if err == nil && int64(len(text)) != info.Size() {
					t.Errorf("%s: %d bytes of %d", name, len(text), info.Size())
				}
			}
			return nil
		})
	})
}

// FuzzArchive reads any bytes as an archive.
func FuzzArchive(f *testing.F) {
	name := imagetest.Save(f, imagetest.Image(f, "amd64", v1.Config{}, imagetest.Text("app", "app")))
	saved, _ := os.ReadFile(name)
	f.Add(saved)
	f.Add(imagetest.Text("manifest.json", "→ a", "a", "→ manifest.json", "index.json", `{"manifests":[{}]}`).Tar(f))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := image.Open("-", bytes.NewReader(text))
		if err != nil {
			return
		}
		defer a.Close()
		for _, i := range a.Images {
			if files, err := i.Files(none, nil); err == nil {
				files.Close()
			}
		}
	})
}
