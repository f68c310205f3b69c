// SPDX-License-Identifier: MIT

package image

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Open opens the archive or layout at name; "-" reads an archive from stdin.
func Open(name string, stdin io.Reader) (*Archive, error) {
	if name == "-" {
		file, err := spool(stdin)
		if err != nil {
			return nil, err
		}
		return openFile(file)
	}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return openFolder(name)
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	magic := make([]byte, 4)
	if n, _ := file.ReadAt(magic, 0); info.Mode().IsRegular() && !isCompressed(magic[:n]) {
		return openFile(file)
	}
	defer file.Close()
	copied, err := spool(file)
	if err != nil {
		return nil, err
	}
	return openFile(copied)
}

func openFolder(name string) (*Archive, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return opened(folder{root.FS()}, root.Close)
}

func openFile(file *os.File) (*Archive, error) {
	t, err := readTarball(file)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("not a tar archive that can be read: %w", err), file.Close())
	}
	return opened(t, file.Close)
}

func opened(b blobs, closer func() error) (*Archive, error) {
	a := &Archive{close: closer}
	err := a.read(b)
	if err == nil && len(a.Images) == 0 {
		err = errors.New("no image in it")
		if len(a.Absent) > 0 {
			err = fmt.Errorf("no image in it: its index names %q, which it lacks", a.Absent)
		}
	}
	if err != nil {
		return nil, errors.Join(err, closer())
	}
	return a, nil
}

// read finds the images. docker save since version 25 writes both formats, of
// which the OCI layout knows more.
func (a *Archive) read(b blobs) error {
	text, err := readJSON(b, "index.json")
	if err == nil {
		return a.addIndex(b, text, "", 0)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err = readJSON(b, "manifest.json")
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("neither index.json (OCI layout) nor manifest.json (docker save) in it")
	}
	if err != nil {
		return err
	}
	return a.addSaved(b, text)
}

// addSaved adds the images of docker save's own format.
func (a *Archive) addSaved(b blobs, text []byte) error {
	var manifests []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(text, &manifests); err != nil {
		return fmt.Errorf("manifest.json: %w", err)
	}
	for _, m := range manifests {
		i := Image{Digest: m.Config}
		if len(m.RepoTags) > 0 {
			i.Name = m.RepoTags[0]
		}
		i.Group = cmp.Or(i.Name, m.Config)
		config, err := readJSON(b, m.Config)
		if err != nil {
			return fmt.Errorf("manifest.json: config %w", err)
		}
		if err := a.add(b, i, config, m.Layers); err != nil {
			return err
		}
	}
	return nil
}

// addIndex adds the images that an index names, and those of its indexes.
func (a *Archive) addIndex(b blobs, text []byte, name string, depth int) error {
	index, err := v1.ParseIndexManifest(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	if depth >= maxNesting {
		return tooMuch("indexes", maxNesting, "levels deep")
	}
	if len(index.Manifests) > maxImages {
		return tooMuch("an index", maxImages, "images")
	}
	for _, d := range index.Manifests {
		name := cmp.Or(d.Annotations["io.containerd.image.name"], name, d.Annotations["org.opencontainers.image.ref.name"])
		if d.Annotations["vnd.docker.reference.type"] != "" || !d.MediaType.IsIndex() && !d.MediaType.IsImage() {
			continue // an attestation, or another artifact
		}
		text, err := readBlob(b, d.Digest)
		if errors.Is(err, fs.ErrNotExist) {
			// An engine that has pulled one platform saves the index of all.
			a.Absent = append(a.Absent, cmp.Or(platformOf(d), d.Digest.String()))
			continue
		}
		if err == nil && d.MediaType.IsIndex() {
			err = a.addIndex(b, text, cmp.Or(name, d.Digest.String()), depth+1)
		} else if err == nil {
			err = a.addManifest(b, text, d, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func platformOf(d v1.Descriptor) string {
	if d.Platform == nil {
		return ""
	}
	return d.Platform.String()
}

func (a *Archive) addManifest(b blobs, text []byte, d v1.Descriptor, name string) error {
	manifest, err := v1.ParseManifest(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	if t := manifest.Config.MediaType; t != types.OCIConfigJSON && t != types.DockerConfigJSON {
		return nil // an artifact, such as a Helm chart
	}
	config, err := readBlob(b, manifest.Config.Digest)
	if err != nil {
		return fmt.Errorf("manifest %s: config %w", d.Digest, err)
	}
	var layers []string
	for _, l := range manifest.Layers {
		layers = append(layers, blobName(l.Digest))
	}
	return a.add(b, Image{Name: name, Group: name, Digest: d.Digest.String()}, config, layers)
}

// add adds an image with its config and its layers, which are names of blobs.
func (a *Archive) add(b blobs, i Image, config []byte, layers []string) error {
	c, err := v1.ParseConfigFile(bytes.NewReader(config))
	if err != nil {
		return fmt.Errorf("config of %s: %w", i.Digest, err)
	}
	if len(a.Images) >= maxImages {
		return tooMuch("the archive", maxImages, "images")
	}
	if len(layers) > maxLayers {
		return tooMuch(i.Digest, maxLayers, "layers")
	}
	i.Config = c.Config
	if p := c.Platform(); p != nil {
		i.Platform = *p
	}
	for _, name := range layers {
		i.Layers = append(i.Layers, func() (io.ReadCloser, error) { return openLayer(b, name) })
	}
	// The same image may be there under several names.
	same := func(other Image) bool { return other.Digest == i.Digest && other.Group == i.Group }
	if !slices.ContainsFunc(a.Images, same) {
		a.Images = append(a.Images, i)
	}
	return nil
}

func openLayer(b blobs, name string) (io.ReadCloser, error) {
	blob, _, err := b.open(name)
	if err != nil {
		return nil, err
	}
	r, err := uncompress(blob)
	if err != nil {
		return nil, errors.Join(err, blob.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{r, blob}, nil
}

// readBlob reads a blob and checks it against its digest, which is its name.
func readBlob(b blobs, digest v1.Hash) ([]byte, error) {
	text, err := readJSON(b, blobName(digest))
	if err != nil {
		return nil, err
	}
	if got, _, err := v1.SHA256(bytes.NewReader(text)); err != nil || digest.Algorithm == got.Algorithm && got != digest {
		return nil, fmt.Errorf("%s is damaged: its digest is %s", digest, got)
	}
	return text, nil
}

func blobName(digest v1.Hash) string { return path.Join("blobs", digest.Algorithm, digest.Hex) }
