"""A page reader on PDF files that other programs made, beside Tesseract on the same pixels.

The files are Debian's typeset manuals: five documents in five families of type, by pdfTeX, xdvipdfmx and FOP. A crop is
a few words of a few lines, cut out between words and set on white paper as large as an embedded page of its kind; its
truth are the characters of the file's text layer. No PDF is part of the project:

    python -m bench.manuals --fetch /tmp/manuals                    # Debian or Ubuntu, as root; 4 MB
    apt-get install -y --no-install-recommends tesseract-ocr tesseract-ocr-eng
    OMP_NUM_THREADS=1 python -m bench.manuals --pdfs /tmp/manuals --run lines=runs/ocr/… --run markdown=runs/ocr/…

Any directory of PDF files will do in place of Debian's. Without `--run` Tesseract is alone; `--pages 20` adds
Tesseract on whole pages at 300 pixels an inch; `--quick` is a check that the benchmark works.
"""
