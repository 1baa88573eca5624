"""All that is done to a picture, by one name each.

    picture = read_picture(content)
    x_1CHW = model_input(picture, 0, channels)
    result = with_answers(picture, [served.predict(x_1CHW)])
    content = write_picture(result)

Whoever reads pictures holds `atelier.data.sources.decoding.quiet_pillow` around it.
"""

from atelier.serving.files.exchange import model_input, with_answers
from atelier.serving.files.reading import read_picture
from atelier.serving.files.record import Picture
from atelier.serving.files.writing import write_picture

__all__ = ["Picture", "model_input", "read_picture", "with_answers", "write_picture"]
