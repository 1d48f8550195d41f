from cnn.show.training_page import speed
from cnn.training.folder import Result

KNOWN = {"compile_seconds": 2.04, "images_per_second": 12345.6, "share_of_matrix_product": 0.254}


def test_the_page_says_how_fast_the_training_was():
    assert speed(Result("done", **KNOWN)) == (
        "Compiling took 2.0 s. The training steps took 12,346 images in a second, "
        "25 % of the operations that products of large matrices do here."
    )


def test_what_is_unknown_is_left_out():
    assert speed(Result("done", compile_seconds=0.0)) == "Compiling took 0.0 s."
    assert "%" not in speed(Result("done", **KNOWN | {"share_of_matrix_product": None}))
    assert speed(Result("failed")) == ""
