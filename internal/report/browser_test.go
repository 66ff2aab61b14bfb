package report

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// TestBrowserSizes: the page fits the window at three widths, light and dark, and can be printed.
func TestBrowserSizes(t *testing.T) {
	page := browse(t)
	for width, dark := range map[int]bool{500: false, 1000: true, 1920: false} {
		img := page.screenshot(t, width, 4000, dark)
		back := img.At(1, 1)
		if r, _, _, _ := back.RGBA(); (r < 0x4000) != dark {
			t.Errorf("width %d, dark %v: the background is %v", width, dark, back)
		}
		// Nothing is cut off: the right edge shows only the background.
		for y := range img.Bounds().Dy() {
			if img.At(width-1, y) != back {
				t.Errorf("width %d, dark %v: something is at the right edge in line %d", width, dark, y)
				break
			}
		}
	}
	file := filepath.Join(page.dir, "report.pdf")
	page.run(t, "--no-pdf-header-footer", "--print-to-pdf="+file)
	if data, err := os.ReadFile(file); err != nil || !bytes.HasPrefix(data, []byte("%PDF")) {
		t.Errorf("no PDF: %v", err)
	}
}

// TestBrowser opens the page in a browser and looks for the curves in a screenshot.
func TestBrowser(t *testing.T) {
	page := browse(t)
	if dom := page.run(t, "--dump-dom"); bytes.Count(dom, []byte("</svg>")) != 9 ||
		!bytes.Contains(dom, []byte("<h2>Datapath ")) {
		t.Errorf("the browser's DOM of the page:\n%s", dom)
	}
	img := page.screenshot(t, 1000, 2000, false)
	pixels := map[color.RGBA]int{}
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			r, g, b, _ := img.At(x, y).RGBA()
			pixels[color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 255}]++
		}
	}
	// The legend alone has 100 pixels of each colour.
	for name, colour := range map[string]string{"upcalls": blue, "missed": orange, "hit ratio": green,
		"socket_overflow": vermilion, "longest batch": sky} {
		v, err := strconv.ParseUint(colour[1:], 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		if n := pixels[color.RGBA{uint8(v >> 16), uint8(v >> 8), uint8(v), 255}]; n < 150 {
			t.Errorf("%s: %d pixels of %s in the picture", name, n, colour)
		}
	}
}

// page is a report in a temporary directory.
type page struct{ browser, dir, file string }

func browse(t *testing.T) page {
	t.Helper()
	browser, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("in CI this must run: %v", err)
		}
		t.Skip("chromium is not installed")
	}
	dir := t.TempDir()
	p := page{browser, dir, filepath.Join(dir, "report.html")}
	if err := os.WriteFile(p.file, []byte(render(t, read(t, sampleText(t)))), 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

// run opens the page with additional flags of Chromium and returns the output.
func (p page) run(t *testing.T, args ...string) []byte {
	t.Helper()
	options := []string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
		"--user-data-dir=" + filepath.Join(p.dir, "profile")}
	cmd := exec.Command(p.browser, append(options, append(args, "file://"+p.file)...)...)
	cmd.Env = append(os.Environ(), "HOME="+p.dir)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("chromium: %v\n%s", err, &errs)
	}
	return out
}

// screenshot returns the page in a window of the given size in pixels.
func (p page) screenshot(t *testing.T, width, height int, dark bool) image.Image {
	t.Helper()
	scheme := "1" // light
	if dark {
		scheme = "0"
	}
	shot := filepath.Join(p.dir, "report.png")
	p.run(t, fmt.Sprintf("--window-size=%d,%d", width, height), "--blink-settings=preferredColorScheme="+scheme,
		"--screenshot="+shot)
	f, err := os.Open(shot)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	return img
}
