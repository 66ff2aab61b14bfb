package report

import (
	"bytes"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// TestBrowser opens the page in a browser and looks for the curves in the
// picture.
func TestBrowser(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("in CI this must run: %v", err)
		}
		t.Skip("chromium is not installed")
	}
	dir := t.TempDir()
	file, shot := filepath.Join(dir, "report.html"), filepath.Join(dir, "report.png")
	if err := os.WriteFile(file, []byte(render(t, read(t, sampleText(t)))), 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) []byte {
		t.Helper()
		cmd := exec.Command(browser, append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
			"--user-data-dir=" + filepath.Join(dir, "profile"), "--window-size=1000,2000"}, append(args, "file://"+file)...)...)
		cmd.Env = append(os.Environ(), "HOME="+dir)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("chromium: %v\n%s", err, &errs)
		}
		return out
	}
	if dom := run("--dump-dom"); bytes.Count(dom, []byte("</svg>")) != 5 || !bytes.Contains(dom, []byte("<h2>Datapath ")) {
		t.Errorf("the browser makes of the page:\n%s", dom)
	}
	run("--screenshot=" + shot)
	f, err := os.Open(shot)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	pixels := map[color.RGBA]int{}
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			r, g, b, _ := img.At(x, y).RGBA()
			pixels[color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 255}]++
		}
	}
	// The legend alone has 100 of each.
	for name, colour := range map[string]string{"upcalls": blue, "missed": orange, "hit ratio": green, "socket_overflow": vermilion, "longest batch": sky} {
		v, err := strconv.ParseUint(colour[1:], 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		if n := pixels[color.RGBA{uint8(v >> 16), uint8(v >> 8), uint8(v), 255}]; n < 150 {
			t.Errorf("%s: %d pixels of %s in the picture", name, n, colour)
		}
	}
}
